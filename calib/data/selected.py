"""Some runs of a data set, as a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.calib.data.dataset import Array, Dataset, Inputs, Subset


@dataclass(frozen=True, eq=False)
class SelectedRuns(Dataset):
    """Those at `places`, ascending, each with its own labels."""

    runs: Dataset
    places: tuple[int, ...]
    inputs: Inputs
    labels: Array | None
    notes: tuple[str, ...]
    together: int

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        yield from Subset(self.runs, self.places)


def selected(runs: Dataset, places: Sequence[int]) -> SelectedRuns:
    """runs: each on its own, with a label for each sample, if any."""
    kept, labels = tuple(sorted(places)), runs.labels
    if labels is not None:
        rows = np.add.outer(np.array(kept) * runs.together, np.arange(runs.together))
        labels = labels[rows.ravel()]
    return SelectedRuns(runs, kept, runs.inputs, labels, runs.notes, runs.together)
