"""Some runs of a data set are a data set: the samples and labels are those of the runs."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.data.dataset import InputType, open_dataset
from bevel.calib.data.selected import selected


@pytest.mark.parametrize("batch", [1, 2])
def test_runs_come_with_their_own_labels(batch: int) -> None:
    x = np.arange(24, dtype=np.float32).reshape(12, 2)
    runs = open_dataset({"x": x, "y": np.arange(12)}, {"x": InputType((batch, 2), np.dtype(np.float32))})
    found = selected(runs, (4, 1))
    assert len(found) == 2 and found.together == batch and found.inputs == runs.inputs
    taken = [batch + one for one in range(batch)] + [4 * batch + one for one in range(batch)]
    assert found.labels is not None
    np.testing.assert_array_equal(found.labels, taken)
    np.testing.assert_array_equal(np.concatenate([run["x"] for run in found]), x[taken])
    assert [len(run) for run in found] == [len(run) for run in found]  # walked twice


def test_without_labels_there_are_none() -> None:
    runs = open_dataset({"x": np.zeros((3, 2), np.float32)}, {"x": InputType((1, 2), np.dtype(np.float32))})
    assert selected(runs, (0,)).labels is None
