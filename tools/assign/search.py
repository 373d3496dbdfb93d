"""What a search knows, and what it can ask of the real model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bevel.calib.data.dataset import Dataset
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.output_noise import OutputNoise
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Moment, Problem, named
from bevel.passes.assign.solvers import solvers
from bevel.passes.assign.solvers.base import Solver
from bevel.tools.accuracy.evaluate import Sample
from bevel.tools.assign.costs import Figures, Places
from bevel.tools.assign.mixture import Mixture
from bevel.tools.assign.score import Reference
from bevel.tools.assign.trial import Formats, Maker

VALUES = 1024  # of output errors that a product of two is a sum of; fewer say little but chance
FEWEST, MOST = 32, 128  # samples that are run to have them, once for each site and format
HELD_OUT = 128  # other samples, on which assignments are compared: what fits the first by chance does not fit these


@dataclass(frozen=True)
class Everywhere:
    """The build with one format for all weights, and one for all results."""

    assignment: Assignment
    figures: Figures


@dataclass(frozen=True)
class Search:
    """products: of the errors whose sum's power is to be small, as `refine` takes them; `noise.products`, or for other
    metrics a diagonal. uniforms: what was built; samples: of the calibration data, held out. mixture: what foresees the
    SQNR of an assignment on these; None: the real model does."""

    maker: Maker
    problem: Problem
    formats: Mapping[str, TensorFormat]
    places: Places
    elements: tuple[int, ...]  # of the tensors of each result; none of weights
    noise: OutputNoise
    products: Floats
    uniforms: tuple[Everywhere, ...]
    samples: Reference
    mixture: Mixture | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)  # formats that could not be built everywhere, and why
    known: dict[Assignment, float] = field(default_factory=dict, compare=False)
    foreseen: dict[Assignment, float] = field(default_factory=dict, compare=False)

    def formats_of(self, assignment: Assignment) -> Formats:
        return {site: self.formats[name] for site, name in named(self.problem, assignment).items()}

    def sqnr_db(self, assignment: Assignment) -> float:
        """Of the quantized model, on the calibration samples."""
        if assignment not in self.known:
            model = self.maker.quantized(self.formats_of(assignment))
            self.known[assignment] = self.samples.score(model).sqnr_db
        return self.known[assignment]

    def foreseen_db(self, assignment: Assignment) -> float:
        """The same, of the float model with all that is rounded put together."""
        if self.mixture is None or assignment in self.known:
            return self.sqnr_db(assignment)
        if assignment not in self.foreseen:
            self.foreseen[assignment] = self.mixture.sqnr_db(assignment, self.formats_of(assignment), self.samples)
        return self.foreseen[assignment]

    @property
    def solver(self) -> Solver:
        return solvers()[self.maker.options.solver]

    def best(self, assignments: Iterable[Assignment]) -> Assignment:
        """The one of the highest SQNR."""
        return max(dict.fromkeys(assignments), key=self.sqnr_db)

    def likeliest(self, assignments: Iterable[Assignment]) -> Assignment:
        """The one that is foreseen to be it."""
        return max(dict.fromkeys(assignments), key=self.foreseen_db)

    def with_moments(self, moments: Iterable[Moment]) -> Search:
        return replace(self, problem=self.problem.with_moments(moments))


def samples_of(dataset: Dataset, outputs: int) -> tuple[list[Sample], list[Sample]]:
    """Runs of `dataset` to find losses with, and others to compare assignments on; the same where there are few.

    outputs: elements that one run gives.
    """
    count = min(max(VALUES // max(outputs, 1), FEWEST), MOST, len(dataset))
    first = spread(range(len(dataset)), count)
    rest = [index for index in range(len(dataset)) if index not in first]
    second = spread(rest, HELD_OUT) if len(rest) >= FEWEST else first
    runs = {index: sample for index, sample in enumerate(dataset) if index in first or index in second}
    return [runs[index] for index in sorted(first)], [runs[index] for index in sorted(second)]


def spread(places: Sequence[int], count: int) -> set[int]:
    """`count` evenly spaced of `places`, as samples may lie in order of their classes; all of fewer."""
    return {places[index * len(places) // count] for index in range(count)} if len(places) > count else set(places)
