"""Constant weights of an operator as integers: which scales they get, and how they stand in the graph.

In the graph, weights of every format are whole integers (their steps, times the factor of their block) behind a
DequantizeLinear with one scale a channel; `bevel.passes.exchange.pack_weights` writes them to a file as short codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.content import content
from bevel.calib.formats.format import INT8, INT16, Format, IntFormat
from bevel.calib.formats.quantized import Grid, Quantized
from bevel.calib.formats.scheme import PerBlock, PerChannel, PerTensor, Scheme, TensorQuant
from bevel.calib.formats.tensor_format import BlockFormat, TensorFormat
from bevel.calib.rounding.nearest import ROUNDER as NEAREST
from bevel.calib.scales.block_weights import block_grid
from bevel.calib.scales.weights import weight_quant
from bevel.passes.base import Kind
from bevel.passes.graph.coded_constant import CodedConstant

BIAS_LIMIT = 2**28  # leaves the sums of products three times as much room below `ACCUMULATOR_LIMIT`
NEGLIGIBLE = 2.0**-12  # of its bias: the most that a channel's products may come to and still be left out
ZERO_CHANNEL_BIAS = 2**23  # a channel of zeros keeps its bias to 23 bits

Floats = NDArray[np.float64]


@dataclass
class StoredConstants:
    """The dequantized constants that were made: by the tensor's name, and by the content of what they read."""

    made: dict[str, dict[tuple[bytes, ...], gs.Variable]] = field(default_factory=dict)
    count: int = 0


class StoredNote(NamedTuple):
    """What a note on a node with weights says."""

    kind: Kind
    text: str
    numbers: Mapping[str, float]


def weight_grid(values: NDArray[np.float32], format: TensorFormat, axis: int) -> Grid:
    """Of weights with output channels along `axis` of their first two; the other is summed, and blocks run along it."""
    if isinstance(format, BlockFormat):
        return block_grid(values, format, axis, 1 - axis)
    return Grid(weight_quant(values, weight_scheme(format, PerChannel(axis))))


def quantized_operand(
    values: NDArray[np.float32], result: TensorQuant | None = None, tied: TensorQuant | None = None
) -> Quantized:
    """A constant that is not multiplied and summed: as what it is `tied` to, or in int16 where the `result` of its
    operator has that, else in int8. The format of weights is not for it: it has one scale, and few elements."""
    if tied is None:
        wide = result is not None and result.scheme.format == INT16
        tied = weight_quant(values, weight_scheme(INT16 if wide else INT8, PerTensor()), "minmax")
    return NEAREST(values, Grid(tied))


def constants(quantized: Quantized, name: str) -> list[gs.Constant]:
    """What a DequantizeLinear reads: integers, scale, and the zero point of those that have one."""
    scale = gs.Constant(f"{name}/scale", np.asarray(quantized.scale))
    if (coded := quantized.coded) is not None:
        return [CodedConstant(f"{name}/quantized", coded), scale]
    zero_point = gs.Constant(f"{name}/zero_point", np.asarray(quantized.zero_point))
    return [gs.Constant(f"{name}/quantized", np.asarray(quantized.codes)), scale, zero_point]


def weight_scheme(format: Format, granularity: PerTensor | PerChannel) -> Scheme:
    """Symmetric but for unsigned integers; int8 without -128, whose products could overflow in pairs."""
    unsigned = isinstance(format, IntFormat) and not format.signed
    return Scheme(format, granularity, symmetric=not unsigned, restricted=format == INT8)


def without_negligible(
    weights: NDArray[np.float32], bias: NDArray[np.float32], x: TensorQuant, axis: int
) -> NDArray[np.float32]:
    """`weights` with zeros for the channels whose products are nothing beside their bias.

    BatchNormalization leaves such channels; in units of their products, the bias would leave no room for a multiplier.
    """
    others = tuple(place for place in range(weights.ndim) if place != axis)
    taps = np.abs(weights.astype(np.float64)).sum(axis=others)
    zero_point = int(x.zero_point)
    largest = taps * float(x.scale) * max(x.scheme.high - zero_point, zero_point - x.scheme.low)
    smallest_bias = np.abs(bias.astype(np.float64)).reshape(-1, len(taps)).min(axis=0)
    kept = largest >= smallest_bias * NEGLIGIBLE
    result: NDArray[np.float32] = weights * np.expand_dims(kept, others)
    return result


def roomy(
    scale: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    x_scale: float,
    axis: int,
    raising: bool,
) -> tuple[NDArray[np.float32], list[StoredNote]]:
    """`scale` set for channels of zeros so that their biases fit, and, if `raising`, raised for all others.

    Weights of which each integer is far below a code of int8 need no raising: their biases have a coarser scale.
    """
    channels = len(scale)
    others = tuple(place for place in range(weights.ndim) if place != axis)
    zero = np.abs(weights).max(axis=others) == 0
    # ConvTranspose: several groups share a channel's scale; the largest bias among them counts.
    largest = np.abs(bias.astype(np.float64)).reshape(-1, channels).max(axis=0)
    floor = np.where(zero, largest / (x_scale * ZERO_CHANNEL_BIAS), largest / (x_scale * BIAS_LIMIT))
    smallest = np.finfo(np.float32).tiny
    wanted = np.where(zero, np.where(largest > 0, floor, scale), np.maximum(scale, floor) if raising else scale)
    with np.errstate(over="ignore"):  # an infinite scale is refused by who knows the node
        new = np.maximum(wanted, smallest).astype(np.float32)
    raised = np.flatnonzero(~zero & (new > scale))
    text = f"weight scales of {len(raised)} channels raised so that their biases fit int32"
    return new, [StoredNote("chosen", text, {"raised_channels": len(raised)})] if len(raised) else []


def left_out(given: NDArray[np.float32], kept: NDArray[np.float32], axis: int) -> list[StoredNote]:
    """How many output channels came without weights, and how many lost theirs to `without_negligible`."""
    others = tuple(place for place in range(given.ndim) if place != axis)
    came, left = ((np.abs(one).max(axis=others) == 0).sum() for one in (given, kept))
    found = []
    if came:
        text = f"{came} output channels have only zero weights"
        found.append(StoredNote("warned", text, {"zero_channels": int(came)}))
    if left > came:
        text = (
            f"the weights of {left - came} output channels are left out: their products never reach "
            f"{NEGLIGIBLE:.2%} of the bias"
        )
        found.append(StoredNote("changed", text, {"left_out_channels": int(left - came)}))
    return found


def bias_scales(sum_scale: NDArray[np.float32], bias: Floats) -> NDArray[np.float32]:
    """Where a bias in units of the sums would leave `BIAS_LIMIT`, the smallest power of two of them by which it fits:
    [channels]."""
    octaves = np.ceil(np.log2(np.maximum(np.abs(bias) / (BIAS_LIMIT * sum_scale.astype(np.float64)), 1.0)))
    scales: NDArray[np.float32] = np.ldexp(sum_scale, octaves.astype(np.int32)).astype(np.float32)
    return scales


def channel_scales(scale: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """One scale a channel, where several groups of channels share the weights' axis."""
    return np.resize(scale, channels)


def dequantized(graph: gs.Graph, tensor: gs.Constant, quantized: Quantized, stored: StoredConstants) -> gs.Variable:
    """`tensor` as integers behind a DequantizeLinear; readers of a tensor who give it the same integers share them."""
    parts = constants(quantized, tensor.name)
    known = stored.made.setdefault(tensor.name, {})
    key = tuple(content(np.asarray(one.values)) for one in parts)
    if key not in known:
        name = f"{tensor.name}/{stored.count}" if known else tensor.name
        if known:
            parts = constants(quantized, name)
        axis = {} if quantized.axis is None else {"axis": quantized.axis}
        if isinstance(groups := quantized.scheme.granularity, PerBlock):
            axis = {"axis": groups.axis, "block_size": groups.size}
        known[key] = gs.Variable(f"{name}/dequantized", np.float32, list(tensor.values.shape))
        graph.nodes.append(gs.Node("DequantizeLinear", f"{name}/dequantize", axis, parts, [known[key]]))
        stored.count += 1
    return known[key]
