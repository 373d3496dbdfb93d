"""What a search knows, and what it can ask of the real model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from bevel.calib.dataset import Dataset
from bevel.calib.tensor_format import TensorFormat
from bevel.passes.assign.output_noise import OutputNoise
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem, named
from bevel.tools.assign_costs import Uniform
from bevel.tools.assign_score import Reference
from bevel.tools.assign_trial import Formats, Maker
from bevel.tools.evaluate import Sample

SAMPLES = 64  # of the calibration data: errors are sums over many outputs, or over many samples


@dataclass(frozen=True)
class Search:
    """products: of the errors whose sum's power is to be small, as `refine` takes them; `noise.products`, or for other
    metrics a diagonal. uniforms: in the order of `problem.formats`. samples: of the calibration data."""

    maker: Maker
    problem: Problem
    formats: Mapping[str, TensorFormat]
    noise: OutputNoise
    products: Floats
    uniforms: tuple[Uniform, ...]
    samples: Reference
    known: dict[Assignment, float] = field(default_factory=dict, compare=False)

    def formats_of(self, assignment: Assignment) -> Formats:
        return {site: self.formats[name] for site, name in named(self.problem, assignment).items()}

    def sqnr_db(self, assignment: Assignment) -> float:
        """Of the quantized model, activations and all, on the calibration samples."""
        if assignment not in self.known:
            model = self.maker.quantized(self.formats_of(assignment))
            self.known[assignment] = self.samples.score(model).sqnr_db
        return self.known[assignment]

    def best(self, assignments: Iterable[Assignment]) -> Assignment:
        return max(dict.fromkeys(assignments), key=self.sqnr_db)

    @property
    def finest(self) -> int:
        """The format that loses least where all nodes have it."""
        return int(np.argmin(self.problem.losses.sum(axis=0)))


def spread(dataset: Dataset, count: int) -> Iterator[Sample]:
    """`count` runs evenly spaced over `dataset`, whose samples may be in order of their classes; all of fewer."""
    wanted = {index * len(dataset) // count for index in range(count)}
    return (sample for index, sample in enumerate(dataset) if index in wanted)
