"""Sums of products with constant weights: the integers behind Conv, ConvTranspose and Gemm.

    y = requantize(sum((x - zx) * w) + b)

Of int8 the sums fit int32. Minifloats whose exponents span many binades have wide integer steps (E3M2: up to 448, E4M3:
up to 229376), and formats with a scale for every block of elements multiply theirs by the block's factor. Products of
such integers are summed exactly, in int64 where a bound from the actual weights passes int32. Then a multiplier of 31
bits would take the product beyond int64: it has as many bits as there is room for, which the rounding of the result
hides as long as they are clearly more than the result's own. The functions sum them by MatMul on int32 or int64, which
onnxruntime computes exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.encodings.coded import CodedWeights, of_coded, shortest
from bevel.calib.arithmetic.requantize import MULTIPLIER_BITS, Output, fixed_point, fixed_points, is_power
from bevel.calib.formats.coded import MAX_CODES, Coded, counted, narrowest
from bevel.calib.formats.scheme import PerBlock
from bevel.passes.graph.coded_constant import CodedConstant
from bevel.passes.operators.base import Activation, Array, Function, Reason, Site, Weight
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, REQUANTIZE_EVEN, constants
from bevel.passes.operators.widths import PRODUCT_BITS, element_type, output_attributes, stored_output

if TYPE_CHECKING:
    from bevel.passes.operators.lowering import Lowering

# Kernels accumulate in int32, and one bit is kept free so that `bodies.ROUNDING_SHIFT` cannot overflow an int64.
ACCUMULATOR_LIMIT = 2**30
BIAS_LIMIT = 2**50  # of int64 sums
FEWEST_BITS = 12  # of a multiplier: one that is off by 2**-13 moves an 8-bit result by a thirtieth of a step

INPUTS = ("x", "w", "b", "multiplier", "shift")
X_ZERO_POINT = f"""
{constants("x_zero_point")}
  x_zero_point8 = Cast <to = 3> (x_zero_point)
"""

# Of wider integers: `x`, `w` -> `centered`, `weights`, of the sums' type
WIDE_ATTRIBUTES = ("x_zero_point", "sum_type", *OUTPUT_ATTRIBUTES)
WIDEN = f"""
{constants("x_zero_point")}
  zero = Cast <to: int = @sum_type> (x_zero_point)
  wide_x = Cast <to: int = @sum_type> (x)
  centered = Sub (wide_x, zero)
  weights = Cast <to: int = @sum_type> (w)
"""


@dataclass(frozen=True)
class Accumulation:
    """Weights, a bias at the scale of the sums and of their type, and the fixed-point ratio of each output channel."""

    weights: Weight
    bias: Array  # int32 or int64 [channels]
    multiplier: Array  # int32 [channels]
    shift: Array  # int8 [channels]
    even: bool = False  # whether some sum of int8 may lie exactly between two integers of the result
    wide: bool = False  # not all of int8, summed in int32

    def constants(self, site: Site, trailing: int) -> list[gs.Constant]:
        """INPUTS but for x as graph constants; per-channel ones with `trailing` unit axes behind."""
        per_channel = (-1, *[1] * trailing)
        return [
            self.weight_constant(f"{site.name}/weight"),
            site.constant("bias", self.bias.reshape(per_channel)),
            site.constant("multiplier", self.multiplier.reshape(per_channel)),
            site.constant("shift", self.shift.reshape(per_channel)),
        ]

    def weight_constant(self, name: str) -> gs.Constant:
        if self.wide and self.weights.coded is not None:
            return CodedConstant(name, self.weights.coded)
        codes = self.weights.codes
        return gs.Constant(name, np.ascontiguousarray(codes.astype(narrowest(codes) if self.wide else np.int8)))

    def attributes(self, site: Site, x: Activation) -> dict[str, Any]:
        sums = {"sum_type": element_type(str(self.bias.dtype))} if self.wide else {}
        return {"x_zero_point": x.zero_point} | sums | output_attributes(site.result)


class Forms(NamedTuple):
    """The functions of one operator: of int8, of int8 whose sums may lie on halves, of wider integers."""

    half_up: Function
    even: Function
    wide: Function

    def of(self, sums: Accumulation) -> Function:
        if sums.wide:
            return self.wide
        return self.even if sums.even else self.half_up


def forms(wide: Function, attributes: tuple[str, ...], inputs: tuple[str, ...], sums: str) -> Forms:
    """`sums` makes the `accumulator` of int8; `wide` is named Wide and the operator."""
    name = wide.name.removeprefix("Wide")
    attributes = (*attributes, "x_zero_point", *OUTPUT_ATTRIBUTES)
    half_up = Function(name, attributes, inputs, sums + REQUANTIZE)
    return Forms(half_up, Function(f"Even{name}", attributes, inputs, sums + REQUANTIZE_EVEN), wide)


@dataclass(frozen=True)
class Sums:
    """Exact integers of a sum of products: how large each channel's sums may get, and what they are worth."""

    weights: Weight
    bias: Array  # int64 [channels], at the scale of the sums
    ratio: Array  # float64 [channels]: what a sum is multiplied by to become the result
    largest: tuple[int, ...]  # [channels]: a bound on every |partial sum|


def accumulation(
    site: Site, x: Activation, channel_axis: int, summed_axis: int | None = None, groups: int = 1
) -> Accumulation | Reason:
    """The integers of a site whose inputs are x, weights and an optional bias: int8 and int32 if they fit.

    `channel_axis` is the weights' output-channel axis; with `groups` > 1 the channels of one group stand along it and
    repeat (ConvTranspose). `summed_axis`: of the input channels, where kernels decode weights in blocks along it; None
    for kernels that decode none.
    """
    narrow = int8_accumulation(site, x, channel_axis, groups)
    if narrow is None or (summed_axis is not None and shorter_in_blocks(site.inputs[1], summed_axis)):
        return wide_accumulation(site, x, channel_axis, summed_axis, groups)
    return narrow


def int8_accumulation(site: Site, x: Activation, channel_axis: int, groups: int) -> Accumulation | None:
    """None where int8 or int32 cannot hold them."""
    if (x.dtype, site.result.dtype) != ("int8", "int8"):
        return None
    sums = sums_of_products(site, x, channel_axis, groups, ACCUMULATOR_LIMIT)
    if isinstance(sums, Reason) or narrowest(sums.weights.codes) != np.int8 or max(sums.largest) >= ACCUMULATOR_LIMIT:
        return None
    multiplier, shift = fixed_points(sums.ratio)
    even = any(map(reaches_halves, sums.ratio, sums.largest))
    return Accumulation(sums.weights, sums.bias.astype(np.int32), multiplier, shift, even)


def wide_accumulation(
    site: Site, x: Activation, channel_axis: int, summed_axis: int | None, groups: int
) -> Accumulation | Reason:
    sums = sums_of_products(site, x, channel_axis, groups, BIAS_LIMIT)
    if isinstance(sums, Reason):
        return sums
    reason = None if summed_axis is None else unsuited(sums.weights, summed_axis)
    if reason is not None:
        return reason
    ratios = fixed_ratios(sums)
    if isinstance(ratios, Reason):
        return ratios
    dtype = np.int32 if max(sums.largest) < ACCUMULATOR_LIMIT else np.int64
    weights = sums.weights if summed_axis is not None else replace(sums.weights, coded=None)
    return Accumulation(weights, sums.bias.astype(dtype), *ratios, wide=True)


def reaches_halves(ratio: float, largest: int) -> bool:
    """Whether an integer of up to `largest`, times `ratio`, may lie exactly between two integers: ratio = p / 2**k with
    an odd p puts the odd multiples of 2**(k - 1) there. Scales that are no powers of two nearly always need so long a
    p that k is beyond all sums.
    """
    numerator, denominator = float(ratio).as_integer_ratio()
    return denominator > 1 and denominator // 2 <= largest and numerator < 1 << MULTIPLIER_BITS


def sums_of_products(site: Site, x: Activation, channel_axis: int, groups: int, bias_limit: int) -> Sums | Reason:
    """The sums of a site, of any width; biases beyond `bias_limit` saturate."""
    weights = site.inputs[1]
    if not isinstance(weights, Weight):
        return Reason("its weights are not constant integers")
    if weights.scale.ndim and weights.axis != channel_axis:
        return Reason(f"its weights are scaled along axis {weights.axis}, not along the output channels")
    channels = weights.codes.shape[channel_axis] * groups
    sum_scale = x.scale * np.resize(weights.scale.astype(np.float64), channels)
    bias = integer_bias(site.inputs[2] if len(site.inputs) > 2 else np.zeros(channels), sum_scale, bias_limit)
    others = tuple(axis for axis in range(weights.codes.ndim) if axis != channel_axis)
    taps = np.tile(np.abs(weights.codes.astype(np.int64)).sum(axis=others), groups)
    # Of Python's integers, which have no largest one
    largest = tuple(int(tap) * x.reach + abs(int(b)) for tap, b in zip(taps, bias, strict=True))
    return Sums(weights, bias, sum_scale / site.scale, largest)


def integer_bias(bias: Activation | Weight | Array, sum_scale: Array, limit: int = ACCUMULATOR_LIMIT) -> Array:
    """The bias in units of the sums, int64 [channels]; integers already at that scale are kept as they are."""
    if isinstance(bias, Activation):
        raise TypeError("a bias is constant")
    if isinstance(bias, Weight):
        if np.allclose(bias.scale, sum_scale, rtol=1e-5, atol=0):
            return np.broadcast_to(bias.codes.ravel().astype(np.int64), sum_scale.shape)
        bias = bias.codes.ravel() * bias.scale.astype(np.float64)
    units = np.clip(np.rint(np.ravel(bias) / sum_scale), -limit, limit)
    return np.broadcast_to(units, sum_scale.shape).astype(np.int64)


def shorter_in_blocks(weights: Any, summed_axis: int) -> bool:
    """Whether codes and factors take fewer bytes than codes of the products do, which may well fit int8."""
    if not isinstance(weights, Weight) or weights.coded is None or unsuited(weights, summed_axis) is not None:
        return False
    if not isinstance(weights.coded.blocks, PerBlock):
        return False
    products = max(1, (len(np.unique(weights.codes)) - 1).bit_length())
    in_blocks = weights.coded.bits * weights.codes.size + 8 * weights.coded.block_codes.size
    return in_blocks < products * weights.codes.size


def unsuited(weights: Weight, summed_axis: int) -> Reason | None:
    """Why no kernel decodes the weights, or None."""
    if weights.coded is not None:
        blocks = weights.coded.blocks
        if isinstance(blocks, PerBlock) and blocks.axis % weights.codes.ndim != summed_axis:
            return Reason(f"the blocks of its weights run along axis {blocks.axis}, not along the input channels")
        return None
    distinct = len(np.unique(weights.codes))
    if distinct > MAX_CODES and narrowest(weights.codes) == np.int32:
        return Reason(f"its weights are {distinct} different integers beyond int16; codes of 8 bits tell 256 apart")
    return None


def fixed_ratios(sums: Sums) -> tuple[Array, Array] | Reason:
    """Multipliers and shifts with as many bits as each channel's sums leave: int32 and int8 [channels]."""
    pairs = []
    for channel, (largest, ratio) in enumerate(zip(sums.largest, sums.ratio, strict=True)):
        bits = min(MULTIPLIER_BITS, PRODUCT_BITS - largest.bit_length())
        if bits < FEWEST_BITS:
            return Reason(f"the sums of channel {channel} may reach {largest}, which leaves no room for a multiplier")
        if ratio >= 2 ** (bits - 1):
            return Reason(f"the sums of channel {channel} are raised by {ratio:.3g}, beyond its {bits}-bit multiplier")
        pairs.append(fixed_point(float(ratio), bits))
    multiplier, shift = np.array(pairs, np.int64).reshape(-1, 2).T
    return multiplier.astype(np.int32), shift.astype(np.int8)


# Lowering


def stored_sums(node: gs.Node) -> Output:
    """Where the result of a call ends whose multipliers and shifts are its inputs 3 and 4."""
    even = node.op.startswith("Even")
    power = even and is_power(*(np.asarray(tensor.values) for tensor in node.inputs[3:5]))
    return replace(stored_output(node), even=even, power=power)


def stored_weights(tensor: gs.Tensor, lowering: Lowering, axes: tuple[int, ...]) -> CodedWeights:
    """Weights as a kernel keeps them, their axes in the order of `axes`: output channels first, summed ones last."""
    coded = lowering.coding(tensor)
    return stored_as(lowering.constant(tensor).transpose(axes), None if coded is None else coded.transpose(axes))


def stored_as(weights: Array, coded: Coded | None) -> CodedWeights:
    """`weights` as the model codes them; those that came without a coding by the shortest for what occurs."""
    return shortest(weights, counted(weights)) if coded is None else of_coded(coded)


def kernel_bias(bias: Array, weights: Array, x_zero_point: int) -> Array:
    """The bias of sum(x * w), from that of sum((x - zx) * w): [channels], the sums' type; weights [channels, ...]."""
    sums = weights.astype(np.int64).reshape(len(weights), -1).sum(axis=1)
    folded: Array = (bias.ravel().astype(np.int64) - x_zero_point * sums).astype(bias.dtype)
    return folded
