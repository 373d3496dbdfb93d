"""The integers of a recurrent site: factors, biases, tables, and what its states are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.recurrence import INT16
from bevel.calib.arithmetic.float_cell import FloatCell
from bevel.calib.arithmetic.recurrent import STATE, STEPS, Lines, common_shift, gate_step, half
from bevel.passes.canonicalize.unify_recurrent import INITIAL
from bevel.passes.graph.quantizers import constant_source
from bevel.passes.operators.base import Activation, Array, Function, Reason, Result, Site, Weight
from bevel.passes.operators.functions.table import on_scale, rescale
from bevel.passes.operators.recurrent.form import gates_of, unbounded
from bevel.passes.operators.widths import element_type, rescaling

FINER = 128  # how many steps of a state are one of an int8 tensor that it begins with


class Started(NamedTuple):
    """A state: its integers in the beginning, the nodes that make them, and what a step is worth."""

    tensor: gs.Tensor
    nodes: list[gs.Node]
    scale: float


class GateSums(NamedTuple):
    """n, the factors of the sums of x and of h, int64 [rows], and the biases, with half a step, likewise: of x and, in
    a gate of their own, of h. dtype: what holds every sum; peephole: int64 [3 * hidden]."""

    shift: int
    w_factor: Array
    r_factor: Array
    bias: Array
    inner: Array
    dtype: str
    peephole: Array


@dataclass(frozen=True)
class Reads:
    """What a site reads: x, weights as [rows, k], states; gate_steps: what steps of each row's gate are worth."""

    x: Activation
    w: Weight
    r: Weight
    states: tuple[Started, ...]
    gate_steps: Array


def reads_of(site: Site, cell: FloatCell, gates: tuple[int, ...]) -> Reads | Reason:
    """gates: for each gate, which of the functions it has."""
    x, w, r, *initial = site.inputs
    if not isinstance(x, Activation) or not isinstance(w, Weight) or not isinstance(r, Weight):
        return Reason("its input is not quantized, or its weights are not constant integers")
    if x.dtype not in ("int8", "int16"):
        return Reason(f"its input is {x.dtype}; give it int8 or int16 activations")
    matrices = []
    for one in (w, r):
        if (one.scale.ndim and one.axis != 1) or np.abs(one.codes).max(initial=0) >= STEPS:
            return Reason("its weights have no int16 with one scale for each row")
        matrices.append(Weight(one.codes[0], one.scale, 0))
    states = []
    for place, begins in enumerate(initial):
        found = started(site, place, begins)
        if isinstance(found, Reason):
            return found
        states.append(found)
    if names := unbounded(cell):
        return Reason(f"nothing bounds what goes into its gates of {', '.join(names)}: give it a clip")
    functions = gates_of(cell)
    steps = [gate_step(functions[which], cell.clip) or 0.0 for which in gates]
    return Reads(x, matrices[0], matrices[1], tuple(states), np.repeat(steps, cell.hidden))


def started(site: Site, place: int, found: Activation | Weight | Array) -> Started | Reason:
    """The state `place` of a site in the beginning, as int16 around 0."""
    tensor, name = site.node.inputs[INITIAL + place], f"{site.name}/{('h', 'c')[place]}0"
    if isinstance(found, Weight):
        source = constant_source(tensor)
        finer = FINER if source is not None and source.values.dtype.itemsize == 1 else 1
        codes = np.clip(found.codes * finer, *INT16).astype(np.int16)
        return Started(gs.Constant(name, codes), [], float(found.scale) / finer)
    if not isinstance(found, Activation):
        return Reason("nothing says how its states are scaled: quantize what they begin with, zeros too")
    scale = found.scale / FINER if found.dtype == "int8" else found.scale
    moved = on_scale(name, found, scale, STATE)
    return moved if isinstance(moved, Reason) else Started(*moved, scale)


def sums_of(reads: Reads, cell: FloatCell, inner: bool) -> GateSums:
    """inner: whether the last gate keeps the bias of its sums of h apart. Raises RatioError."""
    x, steps = reads.x, reads.gate_steps
    taps = [np.abs(one.codes).sum(axis=1).astype(np.float64) for one in (reads.w, reads.r)]
    row_scales = [np.resize(one.scale.astype(np.float64), len(steps)) for one in (reads.w, reads.r)]
    ratios = [x.scale * row_scales[0] / steps, reads.states[0].scale * row_scales[1] / steps]
    reaches = [taps[0] * max(x.high, -x.low), taps[1] * STEPS]
    biases = [one / steps for one in cell.biases]
    peephole = np.zeros(0)
    if cell.p.size:  # of i, o and f, the first three gates
        peephole = cell.p * reads.states[1].scale / steps[: cell.p.size]
    rest = np.abs(biases[0]) + np.abs(biases[1]) + abs(x.zero_point) * taps[0] * ratios[0]
    rest[: cell.p.size] += np.abs(peephole) * STEPS
    shift, (w_factor, r_factor) = common_shift(ratios, reaches, rest)
    moved = x.zero_point * reads.w.codes.astype(np.int64).sum(axis=1) * w_factor
    apart = np.zeros(len(steps), bool)
    apart[2 * cell.hidden :] = inner
    of_x = np.rint(np.where(apart, biases[0], biases[0] + biases[1]) * 2.0**shift).astype(np.int64)
    of_h = np.rint(biases[1][apart] * 2.0**shift).astype(np.int64)
    dtype = "int32" if max(one.max() for one in reaches) < 2**31 else "int64"
    folded = np.rint(peephole * 2.0**shift).astype(np.int64)
    return GateSums(shift, w_factor, r_factor, of_x - moved + half(shift), of_h + half(shift), dtype, folded)


def written(
    site: Site, function: Function, inputs: list[gs.Tensor], attrs: dict[str, Any], reads: Reads
) -> list[gs.Node] | Reason:
    """The call, what brings its states in, and what brings the last ones to the scales that are asked for."""
    before = [node for one in reads.states for node in one.nodes]
    missing: list[Result | None] = [None] * (1 + len(reads.states) - len(site.results))
    answer, *finals = [*site.results, *missing]
    found = answering(answer, reads.states[0].scale)
    if isinstance(found, Reason):
        return found
    outputs = [gs.Variable.empty() if answer is None else answer.tensor]
    behind: list[gs.Node] = []
    for place, (one, state) in enumerate(zip(finals, reads.states, strict=True)):
        last = final(f"{site.name}/last_{('h', 'c')[place]}", one, state)
        if isinstance(last, Reason):
            return last
        outputs.append(last[0])
        behind += last[1]
    call = function.call(site.name, inputs, attrs | found, *outputs)
    return [*before, call, *behind]


def answering(answer: Result | None, scale: float) -> dict[str, int] | Reason:
    """How the state of each step is stored, as attributes; as it is where nobody reads it."""
    if answer is None:
        ratio, output = 1.0, STATE
    else:
        ratio, output = scale / answer.scale, answer.output
    found = rescaling(np.array(ratio), STEPS)
    if isinstance(found, Reason):
        return found
    names = ("multiplier", "y_shift", "y_zero_point", "y_low", "y_high", "y_type")
    numbers = (*map(int, found), output.zero_point, output.low, output.high, element_type(output.dtype))
    return dict(zip(names, numbers, strict=True))


def final(name: str, wanted: Result | None, state: Started) -> tuple[gs.Variable, list[gs.Node]] | Reason:
    """What the call writes as the last of a state, and the nodes that bring it to the scale that is asked for."""
    if wanted is None:
        return gs.Variable.empty(), []
    if (wanted.scale, wanted.output) == (state.scale, STATE):
        return wanted.tensor, []
    raw = gs.Variable(name, np.int16, list(wanted.tensor.shape))
    made = rescale(f"{name}/rescale", Activation(raw, state.scale, 0, *INT16), *wanted)
    return made if isinstance(made, Reason) else (raw, made)


def weights_of(site: Site, reads: Reads, sums: GateSums) -> list[gs.Constant]:
    """The weights [rows, k], their factors and the bias, as the functions take them."""
    return [
        site.constant("w", narrowed(reads.w.codes)),
        site.constant("r", narrowed(reads.r.codes)),
        site.constant("w_factor", sums.w_factor.astype(np.int32)),
        site.constant("r_factor", sums.r_factor.astype(np.int32)),
        site.constant("bias", sums.bias),
    ]


def narrowed(codes: Array) -> Array:
    small = codes.min(initial=0) >= -128 and codes.max(initial=0) <= 127
    return codes.astype(np.int8 if small else np.int16)


def curves_of(site: Site, functions: Mapping[str, Lines]) -> tuple[list[gs.Constant], dict[str, int]]:
    """The segments of functions, by name, as constants, and what else they need as attributes."""
    constants: list[gs.Constant] = []
    attrs: dict[str, int] = {}
    for name, (pieces, _) in functions.items():
        constants += [site.constant(f"{name}_blocks", pieces.blocks), site.constant(f"{name}_ends", pieces.ends)]
        attrs |= {f"{name}_block": pieces.block, f"{name}_fraction": pieces.fraction}
    return constants, attrs


def common_attributes(cell: FloatCell, sums: GateSums) -> dict[str, Any]:
    return {"direction": [int(cell.backward)], "sum_type": element_type(sums.dtype), "shift": sums.shift}


def with_halves(numbers: dict[str, int]) -> dict[str, int]:
    """The shifts among them once more as the half that is added before."""
    return numbers | {f"{name}_half": half(one) for name, one in numbers.items() if name.endswith("_shift")}
