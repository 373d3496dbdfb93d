"""How far each activation's codes reach: by what that leaves of the model's results.

The range of least squared error (`Mse`) weighs all errors alike. What comes out of the model does not: large values
that are clipped carry some networks and are noise in others, and samples that calibration has not seen reach further.
So first what a clipped value counts is searched for the whole model, in steps of `CLIPPING`. Then the range of each of
the loudest tensors is scaled, in steps of `STEP`, as long as less error comes out at the end of the model, all
activations quantized, on samples that are held out from those that ranges are of. How loud a tensor is says what it
does alone; those that are left make less than `LEFT` of the error. A step is taken if it is better by a standard error
of the paired difference.

Source of the criterion: Liu et al. 2023, "PD-Quant: Post-Training Quantization Based on Prediction Difference Metric",
which has the divergence of the prediction in place of the squared error. Held-out samples and both walks are ours.

Price: some runs of the model, within `WORK`. Weights stay float in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs, Subset
from bevel.calib.formats.scheme import TensorQuant
from bevel.calib.formats.stairs import Stairs, stairs
from bevel.calib.observe.observe import observe
from bevel.calib.observe.statistics import RANGE, Statistics
from bevel.calib.scales.ranges import AUTO, Mse, RangeMethod, ScaledRange, activation_quant, weight_and_factor
from bevel.passes.base import Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT, SAMPLED
from bevel.passes.exchange.export import export
from bevel.passes.graph.work import multiplications_of
from bevel.passes.quantize.choose_scales import Scales, choose_scales, together
from bevel.passes.quantize.chosen import NodeFormat, owner
from bevel.passes.quantize.clamp_masks import behind_clips
from bevel.passes.quantize.part_results import part_results
from bevel.passes.quantize.plan import QuantizationPlan, make_plan
from bevel.passes.quantize.range_probe import Behind, Errors, RangedGroup, RangeProbe, open_probe
from bevel.passes.quantize.wanted import Ask, ranges

CLIPPING, CLIPPINGS = 3.0, 3  # and steps either way: a 27th to 27 times
STEP, STEPS = 1.2, 4  # a half to the double
LEFT = 0.1  # of the error's power: what the tensors that are not searched make
HELD = 64  # samples that judge, a quarter of all at most; ranges are of all others
LOUD = 16  # of these, that say which tensors are loud
LEAST = 16  # samples that judge: fewer are no evidence
# Values that were seen of a tensor: of fewer the ends are hardly known, and clipping more of them than least squared
# error does is a gamble; they may only get more room.
MANY = 2**17
ROOM = 2**25  # numbers of all samples that may be held
WORK = 2 * 10**10  # multiplications, and `ELEMENT` for each element: some seconds on one core
ELEMENT = 16  # what a quantizer takes of each is about so much
TRIALS = 30  # runs of all of the model for each sample, about


@dataclass(frozen=True)
class ChooseRanges(Pass):
    """Of those that nobody asked a method for. The graph stays as it is; `schemes` have ranges for more nodes."""

    name: ClassVar[str] = "choose-ranges"
    stage: ClassVar[Stage] = "assign"
    follows: ClassVar[tuple[str, ...]] = ("assign-schemes", "widen-activations", "row-scales")
    requires: ClassVar[tuple[Condition, ...]] = (FLOAT, SAMPLED)

    @property
    def asks(self) -> tuple[Ask, ...]:
        return (ranges,)

    def call(self, work: Work) -> PassResult:
        if work.schemes.range != AUTO:
            return work.result(False)
        nodes, notes = choose_ranges(work)
        return work.result(False, notes, schemes=replace(work.schemes, nodes={**work.schemes.nodes, **nodes}))


@dataclass(frozen=True, eq=False)
class Ranges:
    """What can be searched. members: of each group, its tensors' statistics together; quants: as `Mse` has them; known:
    those that were asked for."""

    plan: QuantizationPlan
    groups: list[RangedGroup]
    members: list[Statistics]
    quants: list[TensorQuant | Stairs]
    known: dict[tuple[int, int, int], TensorQuant | Stairs] = field(default_factory=dict)

    def quant(self, place: int, clipping: int, steps: int) -> TensorQuant | Stairs:
        key = (place, clipping, steps)
        if key not in self.known:
            self.known[key] = self.quant_by(place, self.method(*key))
        return self.known[key]

    def quant_by(self, place: int, method: RangeMethod) -> TensorQuant | Stairs:
        match self.quants[place]:
            case Stairs(last=last):
                return stairs(self.members[place], last.scheme, *weight_and_factor(method))
            case quant:
                return activation_quant(self.members[place], quant.scheme, method)

    def method(self, place: int, clipping: int, steps: int) -> RangeMethod:
        """Of least error, where what is clipped counts `CLIPPING**clipping`, scaled by `STEP**steps`."""
        least = Mse(CLIPPING ** (clipping if self.many(place) else 0))
        return ScaledRange(least, STEP**steps) if steps else least

    def many(self, place: int) -> bool:
        return self.members[place].count >= MANY


@dataclass(frozen=True)
class WalkedRanges:
    """clipping, steps: how far was gone for the whole model, and for each group; first, least: the error on each
    held-out sample with ranges of least squared error, and with these."""

    clipping: int
    steps: Mapping[int, int]
    first: Errors
    least: Errors


def choose_ranges(work: Work) -> tuple[dict[str, NodeFormat], list[Note]]:
    """What is different for which nodes, and why."""
    seen, held = split(work.samples, min(most_samples(work.graph), len(work.samples) // 4))
    if len(held) < LEAST:
        text = f"ranges are those of least squared error: {len(held)} samples to judge others by are not enough"
        return {}, [Note(ChooseRanges.name, "model", "stays", text)]
    found = find_ranges(work, behind_clips(work.graph, with_ranges_of(work, seen)))
    probe = open_probe(work.graph, found.groups, held) if found.groups else None
    if probe is None:
        return {}, []
    walked = RangeWalk(probe, found).best()
    return dict(ranged(work, found, walked)), list(told(found, walked))


def with_ranges_of(work: Work, seen: Runs) -> dict[str, Statistics]:
    """What was observed, with the ranges that some samples alone would give."""
    known = work.observations
    some = observe(export(work.graph), seen, {name: (RANGE,) for name, one in known.items() if RANGE in one.seen})
    return {**known, **{name: Statistics({**known[name].seen, **one.seen}) for name, one in some.items()}}


@dataclass(frozen=True, eq=False)
class RangeWalk:
    probe: RangeProbe
    found: Ranges

    @cached_property
    def whole(self) -> Behind:
        return self.probe.behind(range(len(self.found.groups)))

    def errors(self, clipping: int, steps: Mapping[int, int]) -> Errors:
        """With all groups quantized."""
        places = range(len(self.found.groups))
        return self.probe.errors(
            self.whole, {place: self.found.quant(place, clipping, steps.get(place, 0)) for place in places}
        )

    def best(self) -> WalkedRanges:
        first = self.errors(0, {})
        clipping, least = walk(lambda count: self.errors(count, {}), first, CLIPPINGS)
        steps: dict[int, int] = {}
        for place in self.loudest(clipping):
            changed = partial(self.with_steps, clipping, dict(steps), place)
            count, least = walk(changed, least, STEPS, down=self.found.many(place))
            if count:
                steps[place] = count
        return WalkedRanges(clipping, steps, first, least)

    def with_steps(self, clipping: int, steps: Mapping[int, int], place: int, count: int) -> Errors:
        """With `count` steps for one more group."""
        return self.errors(clipping, {**steps, place: count})

    def loudest(self, clipping: int) -> Iterator[int]:
        """The groups that make all but `LEFT` of the error, each alone."""
        loud = dict[int, float]()
        for place in range(len(self.found.groups)):
            part, quant = self.probe.behind([place]), self.found.quant(place, clipping, 0)
            loud[place] = float(self.probe.errors(part, {place: quant}, LOUD).sum())
        left = total = sum(loud.values())
        for place in sorted(loud, key=lambda one: (-loud[one], one)):
            if left <= LEFT * total:
                return
            left -= loud[place]
            yield place


def walk(errors: Callable[[int], Errors], least: Errors, most: int, down: bool = True) -> tuple[int, Errors]:
    """Step by step in the direction that is better, as long as it is; `least`: the errors of no step; down: whether
    steps may be negative."""
    for direction in (1, -1) if down else (1,):
        best = 0
        while abs(best) < most:
            tried = errors(best + direction)
            if not clearly_less(tried, least):
                break
            best, least = best + direction, tried
        if best:
            return best, least
    return 0, least


def clearly_less(tried: Errors, errors: Errors) -> bool:
    """By a standard error of the sum of the paired differences; or endless on fewer samples."""
    endless, before = (int(np.isinf(one).sum()) for one in (tried, errors))
    if endless or before:
        return endless < before
    gained = errors - tried
    return bool(gained.sum() > gained.std(ddof=1) * np.sqrt(len(gained)))


def find_ranges(work: Work, observed: Mapping[str, Statistics]) -> Ranges:
    """Groups of tensors that have a scale of their own, or uneven steps of one, that no operator fixes."""
    plan = make_plan(work.graph, work.states)
    part_results(work.graph, plan, observed, work.schemes.method)
    scales = choose_scales(plan, observed, work.schemes.method, work.schemes)
    found = Ranges(plan, [], [], [])
    for group in plan.ties:
        for points in by_scale(group, scales):
            if may_choose(points, plan, scales):
                unrounded = {name: frozenset(plan.unrounded.get(name, ())) for name in points}
                quant = scales.stairs.get(points[0], scales.quants[points[0]])
                found.groups.append(RangedGroup(points, unrounded, isinstance(quant, Stairs)))
                found.members.append(together([observed[name] for name in points]))
                found.quants.append(quant)
    return found


def by_scale(group: Sequence[str], scales: Scales) -> list[tuple[str, ...]]:
    """The points of a tie that share a scale: some are rescaled into others."""
    parts: dict[int, list[str]] = {}
    for name in group:
        parts.setdefault(id(scales.quants[name]), []).append(name)
    return [tuple(one) for one in parts.values()]


def may_choose(points: Sequence[str], plan: QuantizationPlan, scales: Scales) -> bool:
    special = scales.blocks.keys() | scales.rows.keys() | scales.nonzero.keys() | scales.scores
    if not (special | plan.kept | plan.pixels | plan.carried).isdisjoint(points):
        return False
    equal = scales.quants[points[0]].scheme.levels is None
    return points[0] in scales.stairs or (equal and plan.fixed.keys().isdisjoint(points))


def ranged(work: Work, found: Ranges, walked: WalkedRanges) -> Iterator[tuple[str, NodeFormat]]:
    """By the names of nodes, and of inputs."""
    for place, group in enumerate(found.groups):
        steps = walked.steps.get(place, 0)
        for point in group.points if steps or walked.clipping else ():
            name = owner(point, found.plan)
            own = found.method(place, walked.clipping, steps)
            yield name, replace(work.schemes.nodes.get(name, NodeFormat()), range=own)


def told(found: Ranges, walked: WalkedRanges) -> Iterator[Note]:
    before, after, count = decibels(walked.first), decibels(walked.least), len(walked.first)
    numbers = {"before_db": before, "after_db": after, "samples": count}
    if not walked.clipping and not walked.steps:
        text = (
            f"ranges are those of least squared error: none left clearly more of the results ({count} held-out samples)"
        )
        yield Note(ChooseRanges.name, "model", "stays", text, {"before_db": before, "samples": count})
        return
    whole = f"of the results {after:.1f} dB are left instead of {before:.1f} ({count} held-out samples)"
    if walked.clipping:
        counts = CLIPPING**walked.clipping
        text = f"ranges of least squared error where what is clipped counts {counts:.3g} times"
        yield Note(ChooseRanges.name, "model", "chosen", f"{text}: {whole}", {**numbers, "clipping": counts})
    for place, steps in walked.steps.items():
        name, factor = owner(found.groups[place].points[0], found.plan), STEP**steps
        text = f"range scaled by {factor:.2f}: with that of others {whole}"
        yield Note(ChooseRanges.name, name, "chosen", text, {**numbers, "factor": factor})


def decibels(errors: Errors) -> float:
    return float(-10 * np.log10(errors.sum())) if errors.sum() > 0 else np.inf


def split(runs: Runs, count: int) -> tuple[Runs, Runs]:
    """Runs that ranges are of, and `count` others that judge them, spread over all."""
    total = len(runs)
    held = {(2 * place + 1) * total // (2 * count) for place in range(count)}
    others = (place for place in range(total) if place not in held)
    return Subset(runs, tuple(others)), Subset(runs, tuple(sorted(held)))


def most_samples(graph: gs.Graph) -> int:
    """How many may judge, within the room and the time."""
    elements = sum(prod(map(int, one.shape)) for one in graph.tensors().values() if isinstance(one, gs.Variable))
    work = sum(map(multiplications_of, graph.nodes)) + ELEMENT * elements
    return min(HELD, ROOM // max(elements, 1), WORK // max(TRIALS * work, 1))
