"""A scale for each row (token) of what matrix products by weights read, computed as the model runs.

Where few large rows set the range of a tensor, the others have few codes left; with a scale of its own each row has all
of them. The tensor is int16 on one scale, and its rows are rounded to as many codes as the format has, between
their own ends (`bevel.calib.arithmetic.round_rows`), which is exact in integers. Source: Yao et al. 2022, "ZeroQuant",
whose scales of tokens are floats. It costs two bytes an element, and a pass over each row; at 8 bits that is seldom
worth it, at 4 bits it is what a transformer's activations need.

A tensor gets it if its error alone then leaves more of the results, by `ALONE` dB, and all of them together if the
whole gains `GAIN` dB. Errors are measured in the float model, on calibration samples, with quantizers switched on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs, spread_samples
from bevel.calib.formats.format import INT8, INT16, IntFormat
from bevel.calib.observe.statistics import Statistics
from bevel.passes.base import COMMAND, Condition, Note, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT, SAMPLED
from bevel.passes.operators.products.gemm import Gemm
from bevel.passes.quantize.choose_scales import choose_scales
from bevel.passes.quantize.chosen import Chosen, NodeFormat, owner
from bevel.passes.quantize.clamp_masks import behind_clips
from bevel.passes.quantize.insert_qdq import insert_qdq
from bevel.passes.quantize.plan import QuantizationPlan, product_readers
from bevel.passes.quantize.results import ROOM, floats_of
from bevel.passes.quantize.wanted import Ask, ranges
from bevel.passes.quantize.widen_activations import WORK, SwitchedModel, planned, sample_count

ALONE = 0.5  # dB
WHOLE = 128  # samples that judge the whole: at 4 bits, gains on a few of them come and go by decibels
GAIN = 0.5  # dB: an eighth of the error's power, for a byte more an element

Given = Sequence[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class RowScales(Pass):
    """rows: auto, of activations of fewer than 8 bits, where the target keeps rows; on, of 8 bits too, and for any gain
    of the whole; work: elements
    that all runs that judge single tensors may compute, and those of the whole. The graph stays as it is; `schemes` say
    more."""

    name: ClassVar[str] = "row-scales"
    stage: ClassVar[Stage] = "assign"
    follows: ClassVar[tuple[str, ...]] = ("assign-schemes", "widen-activations")
    requires: ClassVar[tuple[Condition, ...]] = (FLOAT, SAMPLED)
    rows: Literal["auto", "on", "off"] = "auto"
    work: int = field(default=WORK, metadata=COMMAND)

    @property
    def asks(self) -> tuple[Ask, ...]:
        return (ranges,)

    def call(self, work: Work) -> PassResult:
        if self.rows == "off":
            return work.result(False)
        most, gain = (INT8.bits, 0.0) if self.rows == "on" else (INT8.bits - 1, GAIN)
        if self.rows == "auto" and work.target is not None and work.target.streams:
            text = f"one scale for all rows: a stream of {work.target.name} is rounded before its row is there"
            asked = (one.activations or INT8 for one in work.schemes.nodes.values())
            narrow = any(one.bits < INT8.bits for one in (work.schemes.activations, *asked))
            return work.result(False, [Note(self.name, "model", "refused", text)] if narrow else [])
        nodes, notes = row_scales(work, most, gain, self.work)
        schemes = replace(work.schemes, nodes={**work.schemes.nodes, **nodes})
        return work.result(False, notes, schemes=schemes)


@dataclass(frozen=True)
class RowCandidate:
    """A group of tensors that share a scale, and the one among them that products by weights read."""

    group: list[str]
    point: str
    format: IntFormat


def row_scales(work: Work, most_bits: int, gain: float, effort: int) -> tuple[dict[str, NodeFormat], list[Note]]:
    """What is different for which nodes, and why. gain: dB, the least that the whole must gain; effort: elements."""
    chosen, observed = work.schemes, behind_clips(work.graph, work.observations)
    copy, plan = planned(work.graph, observed, chosen.method, work.states)
    candidates = list(find_candidates(plan, chosen, most_bits))
    outputs = [tensor.name for tensor in work.graph.outputs if tensor.dtype == np.float32]
    if not candidates or not outputs:
        return {}, []
    samples = list(spread_samples(work.samples, sample_count(copy, len(candidates), work=effort)))

    def model_of(
        changed: Mapping[str, NodeFormat], groups: list[list[str]], samples: Given, alone: bool
    ) -> SwitchedModel:
        schemes = replace(chosen, nodes={**chosen.nodes, **changed})
        return switched(work.graph, work.states, observed, schemes, groups, outputs, samples, alone)

    everything = {name: one for candidate in candidates for name, one in with_rows(candidate, plan, chosen)}
    groups = [one.group for one in candidates]
    plain, rows = (model_of(changed, groups, samples, alone=True) for changed in ({}, everything))
    gains = {place: (plain.decibels([place]), rows.decibels([place])) for place in range(len(groups))}
    taken = [place for place, (before, after) in gains.items() if after >= before + ALONE]
    nodes = {name: one for place in taken for name, one in with_rows(candidates[place], plan, chosen)}
    if not taken:
        return {}, [note(one, plan, gains[place], None, False) for place, one in enumerate(candidates)]
    held, switches = whole_samples(work.samples, copy, effort), range(len(plan.ties))
    before, after = (model_of(changed, plan.ties, held, alone=False).decibels(switches) for changed in ({}, nodes))
    together, kept = (before, after), after >= before + gain
    notes = [
        note(one, plan, gains[place], together if place in taken else None, kept)
        for place, one in enumerate(candidates)
    ]
    return (nodes if kept else {}), notes


def whole_samples(runs: Runs, graph: gs.Graph, effort: int = WORK) -> Given:
    """Evenly spread, as many as there is time and room for."""
    count = min(sample_count(graph, 1, WHOLE, effort), max(1, ROOM // floats_of(graph)))
    return list(spread_samples(runs, count))


def find_candidates(plan: QuantizationPlan, chosen: Chosen, most_bits: int) -> list[RowCandidate]:
    """Of each group that a matrix product by weights reads, in integers of up to `most_bits` bits."""
    found = []
    for group in plan.ties:
        format = chosen.of_group(group, plan)
        if not isinstance(format, IntFormat) or not format.signed or not 2 <= format.bits <= most_bits:
            continue
        fixed = plan.int8_only | plan.pixels | plan.results | plan.leaving
        if not fixed.isdisjoint(group) or any(not plan.points[point].inputs for point in group):
            continue
        read = [point for point in group if product_readers(point, plan)]
        if len(read) == 1 and reads_rows(plan, read[0]):
            found.append(RowCandidate(group, read[0], format))
    return found


def reads_rows(plan: QuantizationPlan, point: str) -> bool:
    """Whether products by weights read the point, all of which sum along its rows."""
    readers = product_readers(point, plan)
    return bool(readers) and all(isinstance(operator, Gemm) for operator in readers.values())


def with_rows(one: RowCandidate, plan: QuantizationPlan, chosen: Chosen) -> list[tuple[str, NodeFormat]]:
    name = owner(one.point, plan)
    before = chosen.nodes.get(name, NodeFormat())
    return [(name, replace(before, activations=INT16, rows=one.format))]


def switched(
    graph: gs.Graph,
    states: Mapping[str, str],
    observed: Mapping[str, Statistics],
    chosen: Chosen,
    groups: list[list[str]],
    outputs: list[str],
    samples: Given,
    alone: bool,
) -> SwitchedModel:
    """The float model with the activations of `groups` as they would be quantized. alone: nothing else is quantized."""
    copy, plan = planned(graph, observed, chosen.method, states)
    scales = choose_scales(plan, observed, chosen.method, chosen)
    inside = {name for group in groups for name in group}
    points = {name: one for name, one in plan.points.items() if not alone or name in inside}
    insert_qdq(copy, replace(plan, taken={}, points=points), scales, ())
    return SwitchedModel(copy, groups, outputs, samples)


def note(
    one: RowCandidate,
    plan: QuantizationPlan,
    alone: tuple[float, float],
    together: tuple[float, float] | None,
    kept: bool,
) -> Note:
    name, (before, after) = owner(one.point, plan), alone
    numbers = {"one_scale_alone_db": before, "row_scales_alone_db": after}
    text = f"{one.format.name} of it alone leaves {before:.1f} dB of the results, with a scale for each row {after:.1f}"
    if together is None:
        return Note(RowScales.name, name, "refused", f"one scale for all rows: {text}", numbers)
    numbers |= {"one_scale_db": together[0], "row_scales_db": together[1]}
    text += f"; all tensors together {together[0]:.1f}, with these {together[1]:.1f}"
    if not kept:
        return Note(RowScales.name, name, "refused", f"one scale for all rows: {text}", numbers)
    return Note(RowScales.name, name, "chosen", f"a scale for each row: {text}", numbers)
