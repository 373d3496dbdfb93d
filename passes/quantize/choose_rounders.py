"""Who rounds the weights of each product: the rounder whose errors leave most of its output, measured on held-out data.

    error = sum over held-out samples of ((q - w) x + b)**2,     b = -(q - w) E[x]     as bias correction adds it

No rule says which rounder is best: where neighbouring pixels are alike, kernel-wise rounding leaves more of a product's
output than rounding to the nearest; where they are not, it leaves less. So the products of both errors are put beside
the product itself, in the float model, and run on calibration samples. What is measured is a linear map of float
inputs: ranges take no part in it. E[x] is taken over the other samples, as a correction that had seen these would
flatter whom it corrects; the product that is built afterwards uses all of them.

A node's own output, or those of all nodes that share the weights, is judged first: the layer-wise error of Nagel et al.
2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", section 3.2, which is there what rounding is
learned by. Where errors of several nodes add up, the best of each is not always the best of all. So the model's
results, before a Softmax, are compared on the same samples with all weights rounded as chosen, and with one rounder for
all, activations left float; one for all is taken where it leaves `CLEARLY` more. A model without float results keeps
the best of each.

Price: up to `SAMPLES` samples run once more through the model, with a product more for each rounder of each node that
has a choice; and, for the model's results, through the float model and once for each way to round all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.content import content
from bevel.calib.data.dataset import Runs, Subset
from bevel.calib.errors import UserError
from bevel.calib.observe.base import Want
from bevel.calib.observe.mean import Mean
from bevel.calib.observe.observe import observe
from bevel.calib.observe.statistics import Statistics
from bevel.calib.rounding import rounder, rounder_names
from bevel.passes.base import Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import PLANNED
from bevel.passes.exchange.export import export
from bevel.passes.quantize.correct_bias import mean_error
from bevel.passes.quantize.error_probe import WeightChanges, error_powers, multiplications, result_powers
from bevel.passes.quantize.round_weights import ProductWeights, Rounded, find_weights, rounded_by
from bevel.passes.quantize.wanted import Wants, means

AUTO = "auto"
SIMPLEST = "nearest"  # wins ties
UNMEASURED = "kernel-wise"  # where there are no samples: the better one more often than not
SAMPLES = 32  # of which at most a quarter of all there are
WORK = 2 * 10**10  # multiplications that the first of these runs may take: some five seconds
# dB of the model's results that one rounder for all must leave beyond the best of each node. A judgement: where errors
# are small (int8), the difference comes and goes with the samples by more than this, and either way will do; where they
# are large (ternary), by less, and these are the models that it is for.
CLEARLY = 0.3

Candidates = Mapping[str, Rounded]  # by rounder, the simplest first; those whose codes differ


@dataclass(frozen=True)
class RounderChoice:
    """Who rounds the weights of a node. left_db: what each rounder's errors leave of its output, infinite of those that
    make none; empty where nothing was measured. samples: that were held out; 0 where there was only one. model_db: what
    is left of the model's results with the best of each node, and with `rounder` for all, where that decided."""

    rounder: str
    left_db: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0
    model_db: tuple[float, float] | None = None

    def note(self, node: str) -> Note:
        mine = self.left_db[self.rounder]
        others = ", ".join(f"{name} {left:.2f} dB" for name, left in self.left_db.items() if name != self.rounder)
        count = "1 sample" if self.samples == 1 else f"{self.samples} samples"
        held = f"{count} held out" if self.samples else "the only sample, which the means are of, too"
        text = f"weights rounded {self.rounder}: their errors leave {mine:.2f} dB of its output, {others} ({held})"
        numbers = {f"{name.replace('-', '_')}_db": left for name, left in self.left_db.items()}
        if self.model_db is not None:
            of_each, of_all = self.model_db
            text += (
                f"; as all are: of the model's results {of_all:.2f} dB are left, by the best of each {of_each:.2f} dB"
            )
            numbers |= {"model_each_db": of_each, "model_all_db": of_all}
        return Note(RoundWeights.name, node, "chosen", text, {**numbers, "samples": self.samples})


@dataclass(frozen=True)
class Evidence:
    """What a choice is made by. graph: float, with the products in it; statistics: of all of `dataset`; corrected:
    whether biases will be."""

    graph: gs.Graph
    statistics: Mapping[str, Statistics]
    dataset: Runs
    corrected: bool


@dataclass(frozen=True)
class RoundWeights(Pass):
    """rounding: who makes codes of weights, a rounder, or `auto`: the best for each node; corrected: whether
    CorrectBias follows, and the best is the one that is best then. The graph stays as it is; `codes` are new."""

    name: ClassVar[str] = "round-weights"
    stage: ClassVar[Stage] = "quantize"
    follows: ClassVar[tuple[str, ...]] = ("plan-scales",)
    requires: ClassVar[tuple[Condition, ...]] = (PLANNED,)
    rounding: str = AUTO
    corrected: bool = True

    def __post_init__(self) -> None:
        if self.rounding not in (known := (AUTO, *rounder_names())):
            raise UserError(f"no rounder {self.rounding!r}; known are {', '.join(known)}")

    def wants(self, graph: gs.Graph) -> Wants:
        return means(graph) if self.rounding == AUTO and self.corrected else {}

    def call(self, work: Work) -> PassResult:
        plan, scales = work.plan.plan, work.plan.scales
        found = list(find_weights(plan, scales, work.schemes))
        evidence = None if work.data is None else Evidence(work.graph, work.observations, work.samples, self.corrected)
        made = round_weights(found, self.rounding, work.observations, evidence)
        notes = [choice.note(one.weights.node) for one, choice in made if choice.left_db]
        rounders = {one.weights.node: choice.rounder for one, choice in made}
        return work.result(False, notes, codes=tuple(one for one, _ in made), rounders=rounders)


def round_weights(
    found: Sequence[ProductWeights], wanted: str, statistics: Mapping[str, Statistics], evidence: Evidence | None
) -> list[tuple[Rounded, RounderChoice]]:
    """All of `found` with their codes: by the rounder that is `wanted`, or (auto) by the one that is best for each."""
    if wanted != AUTO:
        return [(rounded_by(one, rounder(wanted), statistics), RounderChoice(wanted)) for one in found]
    candidates = [candidates_for(one, statistics) for one in found]
    doubtful = [one for one in candidates if len(one) > 1]
    measured = iter(choose(found, doubtful, evidence) if evidence is not None and doubtful else ())
    choices = [next(measured, unmeasured(one)) if len(one) > 1 else unmeasured(one) for one in candidates]
    return [(one[choice.rounder], choice) for one, choice in zip(candidates, choices, strict=True)]


def unmeasured(candidates: Candidates) -> RounderChoice:
    return RounderChoice(UNMEASURED if UNMEASURED in candidates else SIMPLEST)


def candidates_for(weights: ProductWeights, statistics: Mapping[str, Statistics]) -> Candidates:
    found: dict[str, Rounded] = {}
    for name in (SIMPLEST, *(name for name in rounder_names() if name != SIMPLEST)):
        made = rounded_by(weights, rounder(name), statistics)
        if not any(np.array_equal(made.quantized.codes, one.quantized.codes) for one in found.values()):
            found[name] = made
    return found


def choose(found: Sequence[ProductWeights], doubtful: Sequence[Candidates], evidence: Evidence) -> list[RounderChoice]:
    """For each of `doubtful`, by what its candidates do to its output, and to the model's, on held-out samples."""
    held = held_out(evidence.dataset, found, doubtful)
    changes = [
        WeightChanges(one[SIMPLEST].weights, {name: error_of(made, mean) for name, made in one.items()})
        for one, mean in zip(doubtful, means_of_others(doubtful, held, evidence), strict=True)
    ]
    samples = len(held) if len(evidence.dataset) > 1 else 0
    left = [
        {name: decibels(signal, power) for name, power in noise.items()}
        for signal, noise in error_powers(evidence.graph, changes, held)
    ]
    choices = [RounderChoice(best_for(readers, left), left[place], samples) for place, readers in shared(doubtful)]
    return best_of_all(choices, changes, evidence, held)


def shared(doubtful: Sequence[Candidates]) -> Iterator[tuple[int, list[int]]]:
    """Each place, and all places of products by the same weights on the same grid: their codes are stored once."""
    keys = [(one[SIMPLEST].weights.tensor.name, content(one[SIMPLEST].quantized.codes), *one) for one in doubtful]
    places: dict[tuple[str | bytes, ...], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return ((place, places[key]) for place, key in enumerate(keys))


def best_for(readers: Sequence[int], left: Sequence[Mapping[str, float]]) -> str:
    """The rounder whose errors are least, summed over the outputs of `readers`, each error relative to its output."""
    return min(left[readers[0]], key=lambda name: sum(10 ** (-left[place][name] / 10) for place in readers))


def best_of_all(
    choices: Sequence[RounderChoice], changes: Sequence[WeightChanges], evidence: Evidence, held: Subset
) -> list[RounderChoice]:
    """The choices, or one rounder for all where that leaves `CLEARLY` more of the model's results."""
    ways = {AUTO: [one.rounder for one in choices]}
    for name in rounder_names():
        way = [name if name in one.left_db else one.rounder for one in choices]
        if way not in ways.values():
            ways[name] = way
    if len(ways) == 1:
        return list(choices)
    trials = {name: [one.changes[made] for one, made in zip(changes, way, strict=True)] for name, way in ways.items()}
    left = {
        name: min((decibels(signal, noise) for signal, noise in powers), default=np.inf)
        for name, powers in result_powers(evidence.graph, changes, trials, held).items()
    }
    best = max(left, key=lambda name: left[name])
    if not left[best] > left[AUTO] + CLEARLY:
        return list(choices)
    decided = (left[AUTO], left[best])
    return [replace(one, rounder=made, model_db=decided) for one, made in zip(choices, ways[best], strict=True)]


def held_out(dataset: Runs, found: Sequence[ProductWeights], doubtful: Sequence[Candidates]) -> Subset:
    """Evenly spread runs, as many as there is time for: no clock, so that choices repeat. A single run is all of it."""
    work = sum(map(multiplications, found)) + sum(
        multiplications(made.weights) for one in doubtful for made in one.values()
    )
    total = len(dataset)
    count = max(1, min(SAMPLES, total // 4, WORK // max(work, 1)))
    return Subset(dataset, tuple((place + 1) * total // count - 1 for place in range(count)))


def means_of_others(
    doubtful: Sequence[Candidates], held: Subset, evidence: Evidence
) -> Iterator[NDArray[np.float64] | None]:
    """The channel means of what each product reads, over the runs that are not held out; None where no bias will be
    corrected."""
    products = [one[SIMPLEST].weights for one in doubtful]
    wanted: dict[str, set[Want]] = {}
    for one in products:
        if one.bias is not None and evidence.corrected:
            wanted.setdefault(one.x.name, set()).add(Want(Mean, (one.summed_axis,)))
    seen = observe(export(evidence.graph), held, wanted) if wanted else {}
    for one in products:
        if one.bias is None or not evidence.corrected:
            yield None
            continue
        whole, part = (found[one.x.name].one(Mean, one.summed_axis) for found in (evidence.statistics, seen))
        yield (whole.without(part) if part.count < whole.count else whole).values


def error_of(made: Rounded, mean: NDArray[np.float64] | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What rounding adds to the weights, and, with the means of their inputs, to the bias: [out]."""
    weights = made.weights
    channels = weights.tensor.values.shape[weights.axis] * (weights.groups if weights.axis == 1 else 1)
    shift = np.zeros(channels) if mean is None else mean_error(made.lost, mean, weights.axis, weights.groups)
    return (-made.lost).astype(np.float32), shift.astype(np.float32)


def decibels(signal: float, noise: float) -> float:
    """Of an output over its error; minus infinity where that is no number."""
    if noise == 0:
        return np.inf
    return float(10 * np.log10(signal / noise)) if np.isfinite(noise) and signal > 0 else -np.inf
