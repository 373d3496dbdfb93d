"""A quantizer of a computed tensor becomes QuantizeLinear, a rounding of its codes, and DequantizeLinear.

Integers are int8 codes, or int16 above 8 bits, between the bounds of a clamp. Unsigned ones that need all bits are
moved by half the range. That is QONNX's formula bit for bit where the zero point is even (0, as a rule); where it is
odd, what lies exactly between two codes goes to the other one: ONNX rounds before it adds the zero point, QONNX after.

Minifloats of numbers beyond 127 times the smallest are quantized to those steps, exactly (`quantize_float`). Bipolar
numbers and other minifloats are looked up for each int8 code. Where a quantizer of at most 8 bits stands before, those
are its codes, and the result is QONNX's bit for bit. Otherwise an int8 quantizer is put before it, whose steps are as
fine as the range allows, and a number within half of such a step of the border between two values may go to the
neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.calib.errors import UserError
from bevel.calib.formats.float_format import E4M3
from bevel.passes.exchange.qonnx.formula import HALF_EVEN, BipolarQuant, FloatQuant, Integers, Quant, Quantizer
from bevel.passes.exchange.qonnx.nodes import called
from bevel.passes.graph.edit import Array, producer
from bevel.passes.graph.quantizers import ROUND, is_dequantize, parameters
from bevel.passes.operators.base import INT8
from bevel.passes.operators.formats.quantize_float import quantize_float
from bevel.passes.operators.functions.clip import wide_clip

LOW, HIGH = INT8
NO_SHIFT = np.float32(0)
MAX_BITS = 16
LARGEST_STEP = 127
LARGEST_WIDE_STEP = 2**24
# Bipolar numbers need the sign only. So fine a step saturates for all but the smallest, of which half a step below 0
# counts as 0; sums of products stay within what requantization can scale by
# (`bevel.calib.arithmetic.requantize.fixed_point`).
SIGN_STEP = np.float32(2.0**-20)
INT32 = 6
INT8_TYPE = np.dtype(np.int8)
OCP_E4M3 = (E4M3.exponent, E4M3.mantissa, E4M3.bias, E4M3.high)


@dataclass(frozen=True)
class QuantizerSite:
    """A quantizer taken out of its graph, with a number that was added before it and taken off behind it: what it read,
    what its readers read. label: how errors call it."""

    graph: gs.Graph
    label: str
    name: str
    x: gs.Tensor
    result: gs.Tensor
    shift: np.float32 = NO_SHIFT  # added to x before, and taken off behind

    def add(self, op: str, role: str, inputs: list[gs.Tensor], output: gs.Tensor, to: int | None = None) -> None:
        attrs = {} if to is None else {"to": to}
        self.graph.nodes.append(gs.Node(op, f"{self.name}{role}", attrs, inputs, [output]))

    def constant(self, role: str, value: Array) -> gs.Constant:
        return gs.Constant(f"{self.name}/{role}", value)

    def codes(self, role: str, dtype: Any = np.int8) -> gs.Variable:
        return gs.Variable(f"{self.name}/{role}", dtype, self.x.shape)


@dataclass(frozen=True)
class CodedTensor:
    """Integer codes in the graph and the reals they mean."""

    tensor: gs.Tensor
    scale: np.float32
    zero_point: int

    def reals(self) -> NDArray[np.float32]:
        """Those of int8: of -128 .. 127: [256]."""
        return np.arange(LOW - self.zero_point, HIGH + 1 - self.zero_point).astype(np.float32) * self.scale


def quantize_activation(graph: gs.Graph, node: gs.Node, quantizer: Quantizer) -> None:
    """Replace `node`. Raises UserError for what int8 codes of one scale cannot hold, and rounding that is not to the
    nearest, ties to even."""
    if quantizer.scale.size != 1:
        raise UserError(f"{called(node)} has {quantizer.scale.size} scales; activations have one a tensor")
    if not isinstance(quantizer, BipolarQuant) and quantizer.rounding not in HALF_EVEN:
        raise UserError(f"{called(node)} rounds by {quantizer.rounding}; activations are rounded by {HALF_EVEN[0]}")
    site = QuantizerSite(graph, called(node), node.name or node.outputs[0].name, node.inputs[0], node.outputs[0])
    around = shift_around(node) if isinstance(quantizer, FloatQuant) else None
    if around is not None and codes_before(replace(site, x=around.before.inputs[0])) is not None:
        site = replace(site, x=around.before.inputs[0], result=around.behind.outputs[0], shift=around.shift)
        around.behind.outputs.clear()
    node.inputs.clear()
    node.outputs.clear()
    dequantize(site, coded(site, quantizer))


class ShiftAround(NamedTuple):
    """before: what adds `shift`; behind: what takes it off."""

    before: gs.Node
    behind: gs.Node
    shift: np.float32


def shift_around(node: gs.Node) -> ShiftAround | None:
    """A constant that is added to what a quantizer alone reads, and taken off what it makes, wherever that is read."""
    before, behind = producer(node.inputs[0]), node.outputs[0].outputs
    if before is None or before.op != "Add" or len(before.outputs[0].outputs) != 1 or len(behind) != 1:
        return None
    constants = [before.inputs[1], behind[0].inputs[1]] if behind[0].op == "Sub" else []
    if len(constants) != 2 or behind[0].inputs[0] is not node.outputs[0]:
        return None
    if not all(isinstance(one, gs.Constant) and one.values.size == 1 for one in constants):
        return None
    added, taken = (np.float32(one.values.item()) for one in constants)
    return ShiftAround(before, behind[0], added) if added == taken else None


def coded(site: QuantizerSite, quantizer: Quantizer) -> CodedTensor:
    """The codes of `site.x`, made in the graph."""
    if isinstance(quantizer, Quant) and quantizer.has_zero:
        return clipped(site, quantizer)
    before = codes_before(site)
    if before is not None and (not isinstance(quantizer, FloatQuant) or quantizer.steps <= LARGEST_STEP):
        return looked_up(site, quantizer, before)
    if isinstance(quantizer, FloatQuant) and quantizer.steps > LARGEST_STEP:
        return wide_float(site, quantizer)
    return looked_up(site, quantizer, first_codes(site, quantizer))


def clipped(site: QuantizerSite, quantizer: Quant) -> CodedTensor:
    """The codes of an integer format."""
    if quantizer.bits > MAX_BITS or quantizer.zero_point.size != 1:
        raise UserError(f"{site.label} has {quantizer.bits} bits; activations of up to {MAX_BITS} can be compiled")
    limits = np.iinfo(np.int8 if quantizer.bits <= 8 else np.int16)
    moved = int(limits.max) + 1 if quantizer.high > limits.max else 0
    zero_point = int(quantizer.zero_point.ravel()[0]) - moved
    if not limits.min <= zero_point <= limits.max:
        raise UserError(f"{site.label} has the zero point {zero_point + moved}, which lies outside its integers")
    made = quantized(site, scalar(quantizer.scale), zero_point, limits.dtype)
    low, high = quantizer.low - moved, quantizer.high - moved
    if (low, high) == (limits.min, limits.max):
        return made
    result = site.codes("rounded", limits.dtype)
    if limits.dtype == np.int16:
        site.graph.nodes.append(wide_clip(f"{site.name}{ROUND}", made.tensor, result, low, high))
    else:
        bounds = [site.constant(role, np.array(bound, np.int8)) for role, bound in (("low", low), ("high", high))]
        site.add("Clip", ROUND, [made.tensor, *bounds], result)
    return replace(made, tensor=result)


def wide_float(site: QuantizerSite, quantizer: FloatQuant) -> CodedTensor:
    """The codes of a minifloat beyond int8: ONNX's own type where it is one, or steps."""
    if (quantizer.exponent, quantizer.mantissa, quantizer.bias, quantizer.steps * quantizer.unit) == OCP_E4M3:
        return quantized(site, scalar(quantizer.scale), 0, np.dtype(ml_dtypes.float8_e4m3fn))
    steps = FloatSteps(quantizer.mantissa, quantizer.steps)
    if int(steps.round_fine(np.array(steps.high), 0)) != steps.high:
        raise UserError(f"{site.label} clips at {steps.high * quantizer.unit:g}, which is none of its numbers")
    if steps.high >= LARGEST_WIDE_STEP:
        raise UserError(f"{site.label} has numbers up to {steps.high} units; below {LARGEST_WIDE_STEP} can be compiled")
    codes = site.codes("quantized", np.int16 if steps.high <= np.iinfo(np.int16).max else np.int32)
    unit = scalar(quantizer.scale) * np.float32(quantizer.unit)
    site.graph.nodes.append(quantize_float(f"{site.name}/quantize", site.x, float(unit), codes, steps))
    return CodedTensor(codes, unit, 0)


def looked_up(site: QuantizerSite, quantizer: Quantizer, given: CodedTensor) -> CodedTensor:
    """The codes of a format of few or of unequal steps: its integers, for each of the codes given."""
    integers, unit = in_units(site, quantizer, given.reals() + site.shift)
    scale = scalar(quantizer.scale) * np.float32(unit)
    zero_point = float(np.rint(site.shift / scale))
    if np.float32(zero_point) * scale != site.shift or abs(zero_point) > LARGEST_STEP:
        raise UserError(f"{site.label} is moved by {site.shift:g}, which is no whole number of its units")
    # Gather counts negative indices from the end: the table starts with that of 0 and ends with that of -1.
    table = site.constant("table", np.roll(integers.astype(np.int8), LOW))
    index, result = gs.Variable(f"{site.name}/index", np.int32, site.x.shape), site.codes("rounded")
    site.add("Cast", "/index", [given.tensor], index, to=INT32)
    site.add("Gather", ROUND, [table, index], result)
    return CodedTensor(result, scale, int(zero_point))


def in_units(site: QuantizerSite, quantizer: Quantizer, reals: NDArray[np.float32]) -> tuple[Integers, float]:
    """What the quantizer makes of `reals`, as integers times a unit, in units of its scale."""
    match quantizer:
        case BipolarQuant():
            return quantizer.integers(reals), 1.0
        case FloatQuant():
            integers, unit = quantizer.integers(reals), quantizer.unit
        case Quant():  # a zero point of a half: odd integers of half the scale
            twice = float(2 * scalar(quantizer.zero_point))
            if not twice.is_integer():
                raise UserError(
                    f"{site.label} has the zero point {twice / 2:g}; whole numbers and halves can be compiled"
                )
            integers, unit = 2 * quantizer.integers(reals) - int(twice), 0.5
    if (largest := int(np.abs(integers).max())) > LARGEST_STEP:
        raise UserError(f"{site.label} has numbers up to {largest} units; {LARGEST_STEP} can be compiled")
    return integers, unit


def codes_before(site: QuantizerSite) -> CodedTensor | None:
    """The int8 codes that the quantizer's input is dequantized from, if it is."""
    node = producer(site.x)
    if node is None or not is_dequantize(node) or isinstance(node.inputs[0], gs.Constant):
        return None
    found = parameters(node)
    if found is None or found.scale.ndim or found.zero_point.dtype != np.int8:
        return None
    return CodedTensor(node.inputs[0], np.float32(found.scale), int(found.zero_point))


def first_codes(site: QuantizerSite, quantizer: Quantizer) -> CodedTensor:
    """Codes of an int8 quantizer whose steps are fine enough to tell the quantizer's values apart."""
    if isinstance(quantizer, BipolarQuant):
        return quantized(site, SIGN_STEP, 0)
    if isinstance(quantizer, Quant):
        raise UserError(f"{site.label} has a zero point between two integers")
    maker = producer(site.x)
    positive = maker is not None and maker.op == "Relu"
    room = HIGH - LOW if positive else LARGEST_STEP
    # An odd number of steps a unit puts the borders between neighbouring units right.
    fineness = (room // quantizer.steps - 1) // 2 * 2 + 1
    step = scalar(quantizer.scale) * np.float32(quantizer.unit) / np.float32(fineness)
    return quantized(site, step, LOW if positive else 0)


def quantized(site: QuantizerSite, scale: np.float32, zero_point: int, dtype: np.dtype[Any] = INT8_TYPE) -> CodedTensor:
    made = CodedTensor(site.codes("quantized", dtype), scale, zero_point)
    site.add("QuantizeLinear", "/quantize", [site.x, *numbers(site, "quantized", made)], made.tensor)
    return made


def dequantize(site: QuantizerSite, made: CodedTensor) -> None:
    site.add("DequantizeLinear", "/dequantize", [made.tensor, *numbers(site, "dequantized", made)], site.result)


def numbers(site: QuantizerSite, role: str, made: CodedTensor) -> list[gs.Constant]:
    zero_point = np.array(made.zero_point).astype(made.tensor.dtype)
    return [site.constant(f"{role}/scale", np.asarray(made.scale)), site.constant(f"{role}/zero_point", zero_point)]


def scalar(values: NDArray[np.float32]) -> np.float32:
    return np.float32(values.ravel()[0])
