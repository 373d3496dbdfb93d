"""Who rounds the weights of each product: the rounder whose errors leave most, measured on samples they have not seen.

    error = sum over samples of ((q - w) x + b)**2,     b = -(q - w) E[x]     as bias correction adds it

No rule says which rounder is best: where neighbouring pixels are alike, kernel-wise rounding leaves more of a product's
output than rounding to the nearest; where they are not, it leaves less. So the products of both errors are put beside
the product itself, in the float model, and run on calibration samples. What is measured is a linear map of float
inputs: ranges take no part in it. A correction that had seen a sample would flatter whom it corrects, so samples are
taken in `FOLDS`, and E[x] of each is that of all the other samples; the product that is built afterwards uses all.

A node's own output, or those of all nodes that share the weights, is judged first: the layer-wise error of Nagel et al.
2020, "Up or Down? Adaptive Rounding for Post-Training Quantization", section 3.2, which is there what rounding is
learned by. Errors of several nodes add up or cancel, so the best of each is not always the best of all: from there on
the model's results decide (`bevel.passes.quantize.settle_rounders`). A model without float results, or with less than
`LEAST` samples, keeps the best of each.

Price: up to `SAMPLES` samples run once more through the model for the means, once with a product more for each rounder
of each node that has a choice, and once for each change that is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from bevel.passes.quantize.error_probe import Fold, WeightChanges, error_powers, multiplications
from bevel.passes.quantize.result_probe import floats_of, open_probe
from bevel.passes.quantize.round_weights import ProductWeights, Rounded, find_weights, rounded_by
from bevel.passes.quantize.settle_rounders import LEAST, SettledWay, settled, trials
from bevel.passes.quantize.wanted import Wants, means

AUTO = "auto"
SIMPLEST = "nearest"  # wins ties
UNMEASURED = "kernel-wise"  # where there are no samples: the better one more often than not
FOLDS = 4
SAMPLES = 128
# Multiplications that the products' outputs may take, and the model's results: some seconds on one core, together.
WORK = 2 * 10**10
RESULTS_WORK = 10**10
ROOM = 2**25  # numbers of the samples' inputs and results that may be held

Candidates = Mapping[str, Rounded]  # by rounder, the simplest first; those whose codes differ


@dataclass(frozen=True)
class RounderChoice:
    """Who rounds the weights of a node. left_db: what each rounder's errors leave of its output, infinite of those that
    make none; empty where nothing was measured. samples: that this is over; a single one is not held out.
    model_db: what was left of the model's results before this rounder was taken for it, and after, where that decided.
    """

    rounder: str
    left_db: Mapping[str, float] = field(default_factory=dict)
    samples: int = 0
    model_db: tuple[float, float] | None = None

    def note(self, node: str) -> Note:
        mine = self.left_db[self.rounder]
        others = ", ".join(f"{name} {left:.2f} dB" for name, left in self.left_db.items() if name != self.rounder)
        held = f"{self.samples} samples, held out in turns" if self.samples > 1 else "the only sample"
        text = f"weights rounded {self.rounder}: their errors leave {mine:.2f} dB of its output, {others} ({held})"
        numbers = {f"{name.replace('-', '_')}_db": left for name, left in self.left_db.items()}
        if self.model_db is not None:
            before, after = self.model_db
            text += f"; of the model's results this leaves {after:.2f} dB instead of {before:.2f} dB"
            numbers |= {"model_before_db": before, "model_after_db": after}
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
    """For each of `doubtful`, by what its candidates do to its output, then to the model's, on samples held out."""
    folds = folds_of(found, doubtful, evidence)
    left = [
        {name: decibels(signal, power) for name, power in noise.items()}
        for signal, noise in error_powers(evidence.graph, folds)
    ]
    groups = list(shared(doubtful))
    best = {place: best_for(places, left) for places in groups for place in places}
    in_all = settle([best[place] for place in range(len(doubtful))], groups, found, folds, evidence)
    samples = sum(len(fold.runs) for fold in folds)
    return [
        RounderChoice(name, left[place], samples, in_all.swayed.get(place)) for place, name in enumerate(in_all.way)
    ]


def settle(
    start: list[str],
    groups: Sequence[Sequence[int]],
    found: Sequence[ProductWeights],
    folds: Sequence[Fold],
    evidence: Evidence,
) -> SettledWay:
    """`start`, with what the model's results ask for where there are samples and time to ask them."""
    names = [list(one.changes) for one in folds[0].changes]
    runs = trials([names[places[0]] for places in groups])
    time = RESULTS_WORK // max(runs * sum(map(multiplications, found)), 1)
    count = min(time, ROOM // floats_of(evidence.graph)) // len(folds)
    thinned = [fold.thinned(count) for fold in folds]
    if sum(len(fold.runs) for fold in thinned) < LEAST:
        return SettledWay(start, {})
    probe = open_probe(evidence.graph, thinned)
    return SettledWay(start, {}) if probe is None else settled(probe, start, groups, names)


def shared(doubtful: Sequence[Candidates]) -> Iterable[list[int]]:
    """The places of products by the same weights on the same grid, whose codes are stored once: each in one group."""
    keys = [(one[SIMPLEST].weights.tensor.name, content(one[SIMPLEST].quantized.codes), *one) for one in doubtful]
    places: dict[tuple[str | bytes, ...], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places.values()


def best_for(readers: Sequence[int], left: Sequence[Mapping[str, float]]) -> str:
    """The rounder whose errors are least, summed over the outputs of `readers`, each error relative to its output."""
    return min(left[readers[0]], key=lambda name: sum(10 ** (-left[place][name] / 10) for place in readers))


def folds_of(found: Sequence[ProductWeights], doubtful: Sequence[Candidates], evidence: Evidence) -> list[Fold]:
    """Samples in turns, and the changes of each product, with biases by the means of the other samples."""
    used = evenly_spread(evidence.dataset, found, doubtful)
    parts = [Subset(evidence.dataset, used[place::FOLDS]) for place in range(min(FOLDS, len(used)))]
    weights = [{name: (-made.lost).astype(np.float32) for name, made in one.items()} for one in doubtful]
    folds = []
    for part in parts:
        changes = [
            WeightChanges(
                one[SIMPLEST].weights, {name: (changed[name], shift_of(made, mean)) for name, made in one.items()}
            )
            for one, changed, mean in zip(doubtful, weights, means_of_others(doubtful, part, evidence), strict=True)
        ]
        folds.append(Fold(part, changes))
    return folds


def evenly_spread(dataset: Runs, found: Sequence[ProductWeights], doubtful: Sequence[Candidates]) -> tuple[int, ...]:
    """As many runs as there is time for: no clock, so that choices repeat."""
    work = sum(map(multiplications, found)) + sum(
        multiplications(made.weights) for one in doubtful for made in one.values()
    )
    total = len(dataset)
    count = max(1, min(SAMPLES, total, WORK // max(work, 1)))
    return tuple((place + 1) * total // count - 1 for place in range(count))


def means_of_others(
    doubtful: Sequence[Candidates], part: Subset, evidence: Evidence
) -> Iterator[NDArray[np.float64] | None]:
    """The channel means of what each product reads, over the runs that are not in `part`; None where no bias will be
    corrected."""
    products = [one[SIMPLEST].weights for one in doubtful]
    wanted: dict[str, set[Want]] = {}
    for one in products:
        if one.bias is not None and evidence.corrected:
            wanted.setdefault(one.x.name, set()).add(Want(Mean, (one.summed_axis,)))
    seen = observe(export(evidence.graph), part, wanted) if wanted else {}
    for one in products:
        if one.bias is None or not evidence.corrected:
            yield None
            continue
        whole, of_part = (found[one.x.name].one(Mean, one.summed_axis) for found in (evidence.statistics, seen))
        yield (whole.without(of_part) if of_part.count < whole.count else whole).values


def shift_of(made: Rounded, mean: NDArray[np.float64] | None) -> NDArray[np.float32]:
    """What is added to the bias for what rounding took from the weights, with the means of their inputs: [out]."""
    weights = made.weights
    channels = weights.tensor.values.shape[weights.axis] * (weights.groups if weights.axis == 1 else 1)
    shift = np.zeros(channels) if mean is None else mean_error(made.lost, mean, weights.axis, weights.groups)
    return shift.astype(np.float32)


def decibels(signal: float, noise: float) -> float:
    """Of an output over its error; minus infinity where that is no number."""
    if noise == 0:
        return np.inf
    return float(10 * np.log10(signal / noise)) if np.isfinite(noise) and signal > 0 else -np.inf
