"""Sums of products beyond int8 and int32: the integers behind WideConv and WideGemm.

    y = requantize(sum((x - zx) * w) + b)

Minifloats whose exponents span many binades have wide integer steps (E3M2: up to 448, E4M3: up to 229376), and formats
with a scale for every block of elements multiply theirs by the block's factor. Products of such integers are summed
exactly, in int64 where a bound from the actual weights passes int32. Then a multiplier of 31 bits would take the
product beyond int64: it has as many bits as there is room for, which the rounding of the result hides as long as they
are clearly more than the result's own.

The functions sum by MatMul on int32 or int64, which onnxruntime computes exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.encodings.coded import Stored, of_coded, shortest
from bevel.calib.arithmetic.requantize import MULTIPLIER_BITS, Output, fixed_point
from bevel.calib.formats.coded import MAX_CODES, narrowest
from bevel.calib.formats.scheme import PerBlock
from bevel.passes.graph.coded_constant import CodedConstant
from bevel.passes.operators.base import Activation, Array, Reason, Site, Weight
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, constants
from bevel.passes.operators.products.accumulate import ACCUMULATOR_LIMIT, Sums, sums_of_products

if TYPE_CHECKING:
    from bevel.passes.operators.lowering import Lowering

# |sum * multiplier| and the rounding constant (at most 2**61) together stay below the 2**62 of `functions.FLOOR`.
PRODUCT_BITS = 61
FEWEST_BITS = 12  # of a multiplier: one that is off by 2**-13 moves an 8-bit result by a thirtieth of a step
BIAS_LIMIT = 2**50

INPUTS = ("x", "w", "b", "multiplier", "shift")
ATTRIBUTES = ("x_zero_point", "sum_type", *OUTPUT_ATTRIBUTES, "y_type")

# `x`, `w` -> `centered`, `weights`, of the sums' type
WIDEN = f"""
{constants("x_zero_point")}
  zero = Cast <to: int = @sum_type> (x_zero_point)
  wide_x = Cast <to: int = @sum_type> (x)
  centered = Sub (wide_x, zero)
  weights = Cast <to: int = @sum_type> (w)
"""


@dataclass(frozen=True)
class WideSums:
    """Weights, a bias of int32 or int64 that says what the sums need, and each channel's fixed-point ratio."""

    weights: Weight
    bias: Array  # int32 or int64 [channels]
    multiplier: Array  # int32 [channels]
    shift: Array  # int8 [channels]

    def constants(self, site: Site, trailing: int) -> list[gs.Constant]:
        """INPUTS but for x as graph constants; per-channel ones with `trailing` unit axes behind."""
        per_channel = (-1, *[1] * trailing)
        return [
            weight_constant(site, self.weights),
            site.constant("bias", self.bias.reshape(per_channel)),
            site.constant("multiplier", self.multiplier.reshape(per_channel)),
            site.constant("shift", self.shift.reshape(per_channel)),
        ]

    def attributes(self, site: Site, x: Activation) -> dict[str, Any]:
        return {
            "x_zero_point": x.zero_point,
            "sum_type": element_type(str(self.bias.dtype)),
            "zero_point": site.result.zero_point,
            "low": site.result.low,
            "high": site.result.high,
            "y_type": element_type(site.result.dtype),
        }


def weight_constant(site: Site, weights: Weight) -> gs.Constant:
    if weights.coded is not None:
        return CodedConstant(f"{site.name}/weight", weights.coded)
    return site.constant("weight", weights.codes.astype(narrowest(weights.codes)))


def element_type(dtype: str) -> int:
    """ONNX's number for an element type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def wide_sums(site: Site, x: Activation, channel_axis: int, summed_axis: int) -> WideSums | Reason:
    """The integers of a site whose inputs are x, weights and an optional bias; input channels are on `summed_axis`."""
    sums = sums_of_products(site, x, channel_axis, 1, BIAS_LIMIT)
    if isinstance(sums, Reason):
        return sums
    reason = unsuited(sums.weights, summed_axis)
    if reason is not None:
        return reason
    ratios = fixed_ratios(sums)
    if isinstance(ratios, Reason):
        return ratios
    dtype = np.int32 if max(sums.largest) < ACCUMULATOR_LIMIT else np.int64
    return WideSums(sums.weights, sums.bias.astype(dtype), *ratios)


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


def stored_output(node: gs.Node) -> Output:
    """Where a wide call's result ends."""
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attrs["y_type"]))
    return Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"], str(dtype))


def stored_weights(tensor: gs.Tensor, lowering: Lowering, axes: tuple[int, ...]) -> Stored:
    """Weights as a kernel keeps them, their axes in the order of `axes`: output channels first, summed ones last."""
    if isinstance(tensor, CodedConstant):
        return of_coded(tensor.coded.transpose(axes))
    return shortest(lowering.constant(tensor).transpose(axes))


def kernel_bias(bias: Array, weights: Array, x_zero_point: int) -> Array:
    """The bias of sum(x * w), from that of sum((x - zx) * w): [channels], the sums' type; weights [channels, ...]."""
    sums = weights.astype(np.int64).reshape(len(weights), -1).sum(axis=1)
    folded: Array = (bias.ravel().astype(np.int64) - x_zero_point * sums).astype(bias.dtype)
    return folded
