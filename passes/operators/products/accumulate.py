"""Sums of products with constant weights: the integers behind Conv, ConvTranspose and Gemm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.requantize import MULTIPLIER_BITS, Output, fixed_points, is_power
from bevel.passes.operators.base import Activation, Array, Reason, Site, Weight

# Kernels accumulate in int32, and one bit is kept free so that `functions.ROUNDING_SHIFT` cannot overflow an int64.
ACCUMULATOR_LIMIT = 2**30


@dataclass(frozen=True)
class Accumulation:
    """int8 weights, int32 bias at the scale of the sums, and the fixed-point ratio of each output channel."""

    weights: Array
    bias: Array  # [channels]
    multiplier: Array  # [channels]
    shift: Array  # [channels]
    even: bool  # whether some sum may lie exactly between two integers of the result

    def constants(self, site: Site, trailing: int) -> list[gs.Constant]:
        """w, b, multiplier, shift as graph constants; per-channel ones with `trailing` unit axes behind."""
        per_channel = (-1, *[1] * trailing)
        return [
            site.constant("weight", self.weights),
            site.constant("bias", self.bias.reshape(per_channel)),
            site.constant("multiplier", self.multiplier.reshape(per_channel)),
            site.constant("shift", self.shift.reshape(per_channel)),
        ]

    def stored(self, site: Site) -> dict[str, int]:
        return {"zero_point": site.result.zero_point, "low": site.result.low, "high": site.result.high}


@dataclass(frozen=True)
class Sums:
    """Exact integers of a sum of products: how large each channel's sums may get, and what they are worth."""

    weights: Weight
    bias: Array  # int64 [channels], at the scale of the sums
    ratio: Array  # float64 [channels]: what a sum is multiplied by to become the result
    largest: tuple[int, ...]  # [channels]: a bound on every |partial sum|


def accumulation(site: Site, x: Activation, channel_axis: int, groups: int = 1) -> Accumulation | Reason:
    """The int8 and int32 integers of a site whose inputs are x, weights and an optional bias.

    `channel_axis` is the weights' output-channel axis; with `groups` > 1 the channels of one group stand along it and
    repeat (ConvTranspose).
    """
    if (x.dtype, site.result.dtype) != ("int8", "int8"):
        return Reason(f"it makes {site.result.dtype} of {x.dtype}, not int8 of int8")
    sums = sums_of_products(site, x, channel_axis, groups, ACCUMULATOR_LIMIT)
    if isinstance(sums, Reason):
        return sums
    if sums.weights.codes.min() < -128 or sums.weights.codes.max() > 127:
        return Reason("its weights, less their zero point, do not fit int8")
    if max(sums.largest) >= ACCUMULATOR_LIMIT:
        largest = max(sums.largest)
        channel = sums.largest.index(largest)
        return Reason(f"the sums of channel {channel} may reach {largest}, which int32 cannot hold safely")
    multiplier, shift = fixed_points(sums.ratio)
    even = any(map(reaches_halves, sums.ratio, sums.largest))
    return Accumulation(sums.weights.codes.astype(np.int8), sums.bias.astype(np.int32), multiplier, shift, even)


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


def stored_bytes(node: gs.Node, even: bool) -> Output:
    """Where the int8 result of a call ends whose multipliers and shifts are its inputs 3 and 4."""
    power = even and is_power(*(np.asarray(tensor.values) for tensor in node.inputs[3:5]))
    return Output(node.attrs["zero_point"], node.attrs["low"], node.attrs["high"], even=even, power=power)
