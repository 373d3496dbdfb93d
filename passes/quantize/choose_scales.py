"""One scale and zero point for every group of tied tensors, from the histogram of all its members."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import Any

import numpy as np

from bevel.calib.arithmetic.power_softmax import FORMAT, LEAST
from bevel.calib.arithmetic.round_rows import HIGHEST, limit
from bevel.calib.formats.format import INT8, INT16, IntFormat
from bevel.calib.formats.levels import integer_levels
from bevel.calib.formats.mx import mx_rounding
from bevel.calib.formats.scheme import Scheme, TensorQuant
from bevel.calib.formats.stairs import Stairs, stairs
from bevel.calib.formats.tensor_format import BlockFormat, TensorFormat
from bevel.calib.observe.histogram import Histogram
from bevel.calib.observe.recurrent_range import RecurrentRange
from bevel.calib.observe.statistics import RANGE, Statistics
from bevel.calib.scales.float_range import float_quant
from bevel.calib.scales.ranges import MinMax, RangeMethod, activation_quant, weight_and_factor
from bevel.passes.base import Note
from bevel.passes.operators.base import State
from bevel.passes.quantize.chosen import Chosen
from bevel.passes.quantize.divisors import Nonzero, without_zero
from bevel.passes.quantize.plan import PASS, QuantizationPlan, product_readers
from bevel.passes.quantize.score_scales import stairs_of_scores
from bevel.passes.quantize.separate import separate

ALL_INT8 = Chosen()
INT16_STEPS = 2**15 - 1
SMALLEST_REACH = 2.0**-15  # of a state: products of two shares of 2**15 steps are then no larger than its steps


@dataclass(frozen=True)
class RowReaders:
    """format: of codes with a scale for each row; readers: the nodes that read these."""

    format: IntFormat
    readers: frozenset[str]


@dataclass
class Scales:
    """The quantization of each point, by tensor name; how those of unequal steps are reached in two stairs; which are
    rounded to blocks, whose quantization is then that of their steps."""

    quants: dict[str, TensorQuant] = field(default_factory=dict)
    stairs: dict[str, Stairs] = field(default_factory=dict)
    blocks: dict[str, BlockFormat] = field(default_factory=dict)
    rescaled: set[str] = field(default_factory=set)  # results into which inputs are rescaled
    scores: set[str] = field(default_factory=set)  # whose scale a Softmax decided
    nonzero: dict[str, Nonzero] = field(default_factory=dict)  # divisors whose codes leave out 0
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)  # what nodes say beyond what they said
    rows: dict[str, RowReaders] = field(default_factory=dict)  # int16 that products read with a scale for each row
    notes: list[Note] = field(default_factory=list)

    def rounding(self, point: str) -> Stairs | BlockFormat | Nonzero | TensorQuant:
        """How integers become the point's codes."""
        if point in self.nonzero:
            return self.nonzero[point]
        return self.blocks.get(point) or self.stairs.get(point) or self.quants[point]


def choose_scales(
    plan: QuantizationPlan, statistics: Mapping[str, Statistics], method: RangeMethod, chosen: Chosen = ALL_INT8
) -> Scales:
    """The model's results have 8 bits at least, whatever is chosen; what an operator reads and makes that has no kernel
    for the format is int8.

    Raises KeyError for a point that was not observed.
    """
    scales = Scales()
    keep_states(scales, plan, statistics)
    attributes = {name: operator.attributes(match, statistics) for name, (operator, match) in plan.taken.items()}
    scales.attributes = {name: found for name, found in attributes.items() if found}
    for group in plan.ties:
        if scales.quants.keys() >= set(group):
            continue
        format = chosen.of_group(group, plan)
        wanted = held(format, group, plan)
        rows = dict(rows_of(group, plan, chosen))
        if rows and wanted == INT16:
            levels = max(2**one.format.bits - 1 for one in rows.values())
            scales.quants |= dict.fromkeys(group, row_quant(together([statistics[name] for name in group]), levels))
            scales.rows |= rows
            continue
        for part in parts(scales, group, plan, statistics, wanted, method):
            quant = fixed_quant(part, plan, statistics, wanted) if isinstance(wanted, IntFormat) else None
            quant = shares_quant() if wanted == FORMAT and not plan.powers.isdisjoint(part) else quant
            if quant is not None:
                scales.notes += [
                    Note(PASS, name, "chosen", "scale fixed by its operator") for name in part if name in plan.fixed
                ]
                scales.quants |= dict.fromkeys(part, quant)
            else:
                own = chosen.of_range(part, plan)
                found = stairs_of_scores(part, plan, statistics, wanted)
                if found is not None:
                    put_scores(scales, part[0], found)
                else:
                    choose(scales, part, together([statistics[name] for name in part]), wanted, own)
            scales.notes += tie_notes(part, statistics)
        if wanted != format and plan.pixels.isdisjoint(group):
            result = leaves_alone(format, group, plan)
            why = "a result of the model" if result else "read or made by an operator that has no kernel for the format"
            scales.notes += [Note(PASS, name, "refused", f"{why}: int8, not {format.name}") for name in group]
    keep_from_zero(scales, plan, statistics)
    return scales


def held(format: TensorFormat, group: Iterable[str], plan: QuantizationPlan) -> TensorFormat:
    """`format`, or int8 where the tied points cannot have it."""
    narrow = is_wide(format) and not without_kernel(format, plan).isdisjoint(group)
    return INT8 if leaves_alone(format, group, plan) or narrow or not plan.pixels.isdisjoint(group) else format


def leaves_alone(format: TensorFormat, group: Iterable[str], plan: QuantizationPlan) -> bool:
    """Whether the points are results of the model, which the format is too narrow for."""
    return plan.results.issuperset(group) and not holds_int8(format)


def keep_states(scales: Scales, plan: QuantizationPlan, statistics: Mapping[str, Statistics]) -> None:
    """int16 around 0 for what operators keep from step to step, and for all that shares its scale. An operator without
    a kernel for it keeps the scale that it has."""
    groups = {name: group for group in plan.ties for name in group}
    for state in plan.states:
        names = [one.name for one in (state.initial, state.final) if one.name in plan.kept]
        members = list(dict.fromkeys(one for name in names for one in groups.get(name, [name])))
        if not (plan.int8_only | plan.pixels).isdisjoint(members):
            continue
        inside = [one for one in plan.states if {one.initial.name, one.final.name} & set(members)]
        seen = [statistics[name] for name in members if name in plan.points]
        reaches = [reach_of(one, statistics) for one in inside] + [max(-one.low, one.high) for one in seen]
        reach = max(*reaches, SMALLEST_REACH)
        scale = np.asarray(np.float32(reach / INT16_STEPS))
        quant = TensorQuant(Scheme(INT16, symmetric=True), scale, np.zeros((), np.int16))
        scales.quants |= dict.fromkeys(members, quant)
        text = "int16: kept from step to step"
        scales.notes += [Note(PASS, name, "chosen", text) for name in names if name in plan.points]


def reach_of(state: State, statistics: Mapping[str, Statistics]) -> float:
    """The largest magnitude that a state may get to."""
    seen = statistics[state.observed].seen[state.want]
    assert isinstance(seen, RecurrentRange)
    return max(state.least, min(state.most, state.headroom * seen.reaches[state.place]))


def parts(
    scales: Scales,
    group: list[str],
    plan: QuantizationPlan,
    statistics: Mapping[str, Statistics],
    format: TensorFormat,
    method: RangeMethod,
) -> list[list[str]]:
    """The points of a group of one format that share one scale."""
    if not isinstance(format, IntFormat):
        return [group]
    integers = format

    @cache
    def quant_of(points: tuple[str, ...]) -> TensorQuant:
        fixed = fixed_quant(list(points), plan, statistics, integers)
        return fixed or activation_quant(together([statistics[name] for name in points]), Scheme(integers), method)

    found = separate(group, plan, statistics, lambda points: quant_of(tuple(points)))
    for (name, result), cost in found.lost.items():
        scales.rescaled.add(result)
        text = f"keeps its own scale and is rescaled into {result}: one scale would cost {cost:.1f} dB"
        scales.notes.append(Note(PASS, name, "chosen", text, {"one_scale_costs_db": cost}))
    return found.groups


def rows_of(group: list[str], plan: QuantizationPlan, chosen: Chosen) -> Iterator[tuple[str, RowReaders]]:
    for name in group:
        format, readers = chosen.of_rows(name, plan), frozenset(product_readers(name, plan))
        if format is not None and readers:
            yield name, RowReaders(format, readers)


def row_quant(statistics: Statistics, levels: int) -> TensorQuant:
    """The steps that rows are rounded from: nothing that was seen is clipped."""
    found = activation_quant(statistics, Scheme(INT16, symmetric=True), MinMax())
    scale = np.asarray(found.scale * np.float32(HIGHEST / limit(levels)))
    return TensorQuant(found.scheme, scale, found.zero_point)


def keep_from_zero(scales: Scales, plan: QuantizationPlan, statistics: Mapping[str, Statistics]) -> None:
    """Leave the code of 0 out of those divisors that never were 0."""
    for name in plan.points:
        if name not in plan.divisors or name in scales.blocks or name in scales.stairs:
            continue
        found = without_zero(statistics[name], scales.quants[name])
        if found is not None:
            scales.nonzero[name] = found
            text = "something is divided by it and it never was 0: no value is rounded to 0"
            scales.notes.append(Note(PASS, name, "chosen", text))


def holds_int8(format: TensorFormat) -> bool:
    """Whether it is an integer format of 8 bits or more: results of the model may have it."""
    return isinstance(format, IntFormat) and format.bits >= INT8.bits


def without_kernel(format: TensorFormat, plan: QuantizationPlan) -> set[str]:
    """The points that an operator without a kernel for the wide format reads or makes."""
    if format == FORMAT:
        return plan.int8_only | (plan.coded - plan.powers)
    return plan.int8_only if isinstance(format, IntFormat) else plan.int8_only | plan.coded


def choose(scales: Scales, group: list[str], statistics: Statistics, format: TensorFormat, method: RangeMethod) -> None:
    if isinstance(format, BlockFormat):
        scales.quants |= dict.fromkeys(group, block_quant(statistics, format))
        scales.blocks |= dict.fromkeys(group, format)
        return
    if isinstance(format, IntFormat):
        scales.quants |= dict.fromkeys(group, activation_quant(statistics, Scheme(format), method))
        return
    scheme = Scheme(format, symmetric=True)
    if is_wide(format):
        scales.quants |= dict.fromkeys(group, float_quant(statistics, scheme))
        return
    found = stairs(statistics, scheme, *weight_and_factor(method))
    scales.quants |= dict.fromkeys(group, found.last)
    scales.stairs |= dict.fromkeys(group, found)


def shares_quant() -> TensorQuant:
    """Of shares that are powers of two, down to the smallest step."""
    scheme = Scheme(FORMAT, symmetric=True)
    return TensorQuant(scheme, np.asarray(np.float32(2.0**-LEAST)), np.zeros((), scheme.dtype))


def put_scores(scales: Scales, point: str, found: Stairs) -> None:
    scales.quants[point], scales.stairs[point] = found.last, found
    scales.scores.add(point)
    zero_point = int(found.last.zero_point)
    text = f"scores: what a Softmax makes of them decides their scale, and that step {zero_point} is 0"
    scales.notes.append(Note(PASS, point, "chosen", text, {"zero_point": float(zero_point)}))


def block_quant(statistics: Statistics, format: BlockFormat) -> TensorQuant:
    """The quantization of the steps of a format of blocks that share a power of two."""
    rounding = mx_rounding(format)
    if rounding is None:
        raise ValueError(f"activations have no blocks of {format.name}")
    step = rounding.step(max(-statistics.low, statistics.high, 0.0))
    return TensorQuant(Scheme(INT16, symmetric=True), np.asarray(np.float32(step)), np.zeros((), np.int16))


def is_wide(format: TensorFormat) -> bool:
    """Whether activations of the format are wider than int8."""
    if isinstance(format, BlockFormat):
        return True
    if isinstance(format, IntFormat):
        return format.bits > INT8.bits
    return integer_levels(format) is None


def fixed_quant(
    group: list[str], plan: QuantizationPlan, statistics: Mapping[str, Statistics], format: IntFormat
) -> TensorQuant | None:
    """What an operator of the group fixes (Softmax: 1/256 at 8 bits), if every other member's values fit into it."""
    fixed = {plan.fixed[name] for name in group if name in plan.fixed}
    if len(fixed) != 1 or format.bits < INT8.bits:
        return None
    scheme, finer = Scheme(format), 2 ** (format.bits - INT8.bits)
    ((scale, zero_point),) = ((scale / finer, zero_point * finer) for scale, zero_point in fixed)
    low, high = ((code - zero_point) * scale for code in (scheme.low - 0.5, scheme.high + 1.5))
    others = [statistics[name] for name in group if name not in plan.fixed]
    if any(one.low < low or one.high > high for one in others):
        return None
    return TensorQuant(scheme, np.asarray(np.float32(scale)), np.array(zero_point, scheme.dtype))


def together(members: list[Statistics]) -> Statistics:
    """The range of all members; their channels do not correspond."""
    return Statistics({RANGE: reduce(Histogram.merge, (one.histogram for one in members))})


def tie_notes(group: list[str], statistics: Mapping[str, Statistics]) -> list[Note]:
    """What a forced tie costs: how much wider the common range is than each member's own."""
    if len(group) == 1:
        return []
    widths = {name: statistics[name].high - statistics[name].low for name in group if name in statistics}
    widest = max(widths.values(), default=0.0)
    return [
        Note(
            PASS,
            name,
            "warned",
            f"shares one scale with {len(group) - 1} other tensors; its own range is {width / widest:.0%} of theirs",
            {"other_tensors": len(group) - 1, "range_fraction": width / widest},
        )
        for name, width in widths.items()
        if widest > 0 and width < 0.5 * widest
    ]
