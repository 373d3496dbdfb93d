"""Drop channels that always hold the same integer, and add what they contribute to the bias of who reads them.

    sum over all (x - zx) * w + b  ==  sum over the others (x - zx) * w + (b + sum over the constant (v - zx) * w)

A channel is constant where its weights are all zero: networks trained with BatchNorm and weight decay leave many.
It stays constant through channel-wise operators as long as padding does not show: where padding counts, only channels
that hold the zero point itself are constant. Exact: every remaining integer is what it was.

The channels kept are rounded up to as many as the target's kernels take together. Where input channels share factors
in blocks, what stays of a block is a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.target import Target
from bevel.calib.arithmetic.requantize import Output, requantize
from bevel.calib.formats.scheme import PerBlock
from bevel.passes.base import Condition, Pass, PassResult, Stage, Work
from bevel.passes.conditions import EXECUTION_ORDER, STATIC_SHAPES
from bevel.passes.graph.coded_constant import CodedConstant
from bevel.passes.operators.base import DOMAIN, Array
from bevel.passes.operators.formats.round_float import rounded_constants
from bevel.passes.operators.functions.clip import bounds
from bevel.passes.operators.functions.table import wide_entries
from bevel.passes.operators.products.conv import shapes
from bevel.passes.operators.widths import stored_output

FACTOR_BITS = 8  # in a kernel's table of blocks
CONVOLUTIONS, PRODUCTS = ("Conv", "EvenConv", "WideConv"), ("Gemm", "EvenGemm", "WideGemm")
MEANS = ("ReduceMean", "ReduceSum")


@dataclass(frozen=True)
class Chain:
    """A product whose output channels reach, through channel-wise nodes alone, the input channels of one reader."""

    source: gs.Node
    between: tuple[gs.Node, ...]
    reader: gs.Node

    @property
    def tensors(self) -> list[gs.Variable]:
        return [node.outputs[0] for node in (self.source, *self.between)]


@dataclass(frozen=True)
class PruneConstantChannels(Pass):
    """together: the channels that stay are filled up to a multiple of it; 0: as the kernels of the target take them."""

    name: ClassVar[str] = "prune-constant-channels"
    stage: ClassVar[Stage] = "integerize"
    follows: ClassVar[tuple[str, ...]] = ("integerize",)
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES, EXECUTION_ORDER)
    together: int = 0

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        for chain in list(chains(graph)):
            values = constant_values(chain)
            dropped = droppable(chain, values)
            kept = kept_for(chain.reader, dropped, self.together or together_on(work.target))
            if len(kept) == len(dropped):
                continue
            drop(chain, values, kept)
            gone, channels = len(dropped) - len(kept), len(dropped)
            text = f"{gone} of {channels} channels are constant"
            notes.append(self.note(chain.source.name, "changed", text, constant_channels=gone, channels=channels))
        return work.result(bool(notes), notes)


def chains(graph: gs.Graph) -> Iterator[Chain]:
    """Every chain, readers in execution order: what a reader loses is known before its own readers are asked."""
    outputs = {tensor.name for tensor in graph.outputs}
    for reader in graph.nodes:
        if not is_product(reader):
            continue
        between: list[gs.Node] = []
        tensor = reader.inputs[0]
        while len(tensor.inputs) == 1 and len(tensor.outputs) == 1 and tensor.name not in outputs:
            node = tensor.inputs[0]
            if is_product(node):
                yield Chain(node, tuple(between[::-1]), reader)
                break
            if not is_channelwise(node):
                break
            between.append(node)
            tensor = node.inputs[0]


def is_product(node: gs.Node) -> bool:
    """A convolution over all channels, or a product of matrices of rank 2."""
    if node.domain != DOMAIN or not all(isinstance(tensor, gs.Constant) for tensor in node.inputs[1:]):
        return False
    if node.op in CONVOLUTIONS:
        return int(node.attrs["group"]) == 1
    return node.op in PRODUCTS and len(node.inputs[0].shape) == 2


def is_channelwise(node: gs.Node) -> bool:
    """Whether channel c of the output depends on channel c of the input alone, the channels being axis 1 of both."""
    x, y = node.inputs[0], node.outputs[0]
    if node.op in CONVOLUTIONS and node.domain == DOMAIN:
        return bool(int(node.attrs["group"]) == x.shape[1] == y.shape[1])
    if node.op in MEANS and node.domain == DOMAIN:
        axes = [int(axis) for axis in node.inputs[1].values]
        return min(axes) > 1
    if node.op == "Reshape" and not node.domain:
        return bool(list(y.shape[:2]) == list(x.shape[:2]) and prod(y.shape) == prod(x.shape[:2]))
    if node.domain == DOMAIN:
        return node.op in ("Table", "RoundFloat", "WideClip", "WideMaxPool", "WideTable")
    return node.op in ("MaxPool", "Clip")


# Which channels are constant


def constant_values(chain: Chain) -> Array:
    """The integer that each channel always holds where the reader reads it; NaN where it varies: [channels]."""
    weights = np.asarray(chain.source.inputs[1].values)
    outputs_first = weights if chain.source.op in CONVOLUTIONS else weights.T
    zero = ~outputs_first.reshape(len(outputs_first), -1).any(axis=1)
    values = np.where(zero, stored(chain.source, np.asarray(chain.source.inputs[2].values).ravel()), np.nan)
    for node in chain.between:
        values = passed_on(node, values)
    return values


def stored(node: gs.Node, accumulator: Array) -> Array:
    """What the node stores for one accumulator in each channel."""
    multiplier, shift = (np.asarray(tensor.values).ravel() for tensor in node.inputs[3:5])
    return requantize(accumulator, multiplier, shift, output_of(node)).astype(np.float64)


def output_of(node: gs.Node) -> Output:
    return replace(stored_output(node), even=node.op.startswith("Even"))


def passed_on(node: gs.Node, values: Array) -> Array:
    known = ~np.isnan(values)
    filled = np.where(known, values, 0).astype(np.int64)
    match node.op:
        case "Table":
            entries = np.asarray(node.inputs[1].values)
            return np.where(known, entries[filled], np.nan)  # negative integers count from the end, as in Gather
        case "WideTable":
            return np.where(known, wide_entries(node, filled), np.nan)
        case "Clip" | "WideClip":
            return np.clip(values, *bounds(node))
        case "RoundFloat":
            return np.where(known, rounded_constants(node, filled), np.nan)
        case "ReduceMean" | "ReduceSum":
            count = prod(node.inputs[0].shape[int(axis)] for axis in node.inputs[1].values)
            sums = filled * count - int(node.attrs["zero_sum"])
            multiplier, shift = (np.array(node.attrs[name]) for name in ("multiplier", "shift"))
            return np.where(known, requantize(sums, multiplier, shift, output_of(node)), np.nan)
        case "Conv" | "EvenConv" | "WideConv":
            weights = np.asarray(node.inputs[1].values).astype(np.int64).reshape(len(values), -1)
            steps = filled - int(node.attrs["x_zero_point"])
            shows_padding = any(node.attrs["pads"]) & (steps != 0)
            constant = ~weights.any(axis=1) | (known & ~shows_padding)
            sums = np.where(known, steps, 0) * weights.sum(axis=1) + np.asarray(node.inputs[2].values).ravel()
            return np.where(constant, stored(node, sums), np.nan)
        case _:  # MaxPool and WideMaxPool, whose padding never wins, and Reshape
            return values


def droppable(chain: Chain, values: Array) -> Array:
    """The channels whose contribution to the reader is one number: bool [channels]."""
    constant: Array = ~np.isnan(values)
    if chain.reader.op in CONVOLUTIONS and any(chain.reader.attrs["pads"]):
        constant &= values == int(chain.reader.attrs["x_zero_point"])
    return constant


def together_on(target: Target | None) -> int:
    return 1 if target is None else target.channels_together


def kept_channels(channels: int, dropped: Array, together: int) -> Array:
    """Indices of the channels that stay, with as many constant ones as fill the last group."""
    needed = max(int((~dropped).sum()), 1)
    wanted = min(-(-needed // together) * together, channels)
    first = np.argsort(dropped, kind="stable")[:wanted]
    return np.sort(first)


def kept_for(reader: gs.Node, dropped: Array, together: int) -> Array:
    """Indices of the channels that stay before `reader`."""
    weights = reader.inputs[1]
    if isinstance(weights, CodedConstant) and isinstance(weights.coded.blocks, PerBlock) and not dropped.all():
        return kept_in_blocks(weights.coded.blocks.size, weights.coded.bits, dropped, together)
    return kept_channels(len(dropped), dropped, together)


def kept_in_blocks(size: int, bits: int, dropped: Array, together: int) -> Array:
    """Indices of the channels that stay where each `size` of them share a factor of 8 bits, as those that stay will.

    What stays of a block is filled up to whole blocks of a length that divides `size`: the one that takes fewest bits.
    """
    options = []
    for length in (one for one in range(size, 0, -1) if size % one == 0 and (one == size or one % together == 0)):
        kept = [first + kept_of_block(dropped[first : first + size], length) for first in range(0, len(dropped), size)]
        places = np.concatenate(kept)
        options.append((len(places) * bits + -(-len(places) // length) * FACTOR_BITS, places))
    return min(options, key=lambda option: option[0])[1]


def kept_of_block(dropped: Array, length: int) -> Array:
    """Indices within a block, with as many constant channels as fill the last part of it."""
    wanted = min(-(-int((~dropped).sum()) // length) * length, len(dropped))
    return np.sort(np.argsort(dropped, kind="stable")[:wanted])


# Dropping them


def drop(chain: Chain, values: Array, kept: Array) -> None:
    fold(chain.reader, values, kept)
    keep_outputs(chain.source, kept)
    for node in chain.between:
        if node.op in CONVOLUTIONS:
            keep_outputs(node, kept)
            node.attrs["group"] = len(kept)
        if node.op == "Reshape":
            shape = np.asarray(node.inputs[1].values).copy()
            shape[1] = len(kept)
            node.inputs[1] = gs.Constant(f"{node.name}/kept_shape", shape)
    for tensor in chain.tensors:
        tensor.shape = [tensor.shape[0], len(kept), *tensor.shape[2:]]
    for node in (chain.source, *chain.between, chain.reader):
        if node.op == "WideConv":
            x, w, y = (tuple(tensor.shape) for tensor in (node.inputs[0], node.inputs[1], node.outputs[0]))
            node.attrs |= shapes(x, w, y, int(node.attrs["group"]))


def fold(reader: gs.Node, values: Array, kept: Array) -> None:
    """Take the channels out of the reader's weights, and their contribution into its bias."""
    weight, bias = reader.inputs[1:3]
    codes = np.asarray(weight.values)
    inputs_first = codes.swapaxes(0, 1) if reader.op in CONVOLUTIONS else codes
    gone = np.setdiff1d(np.arange(len(inputs_first)), kept)
    steps = values[gone].astype(np.int64) - int(reader.attrs["x_zero_point"])
    taps = inputs_first[gone].astype(np.int64).reshape(len(gone), inputs_first.shape[1], -1).sum(axis=2)
    added = (steps @ taps).reshape(np.shape(bias.values))
    reader.inputs[1] = taken(weight, kept, axis=1 if reader.op in CONVOLUTIONS else 0)
    whole = np.asarray(bias.values)
    reader.inputs[2] = gs.Constant(f"{bias.name}/kept", (whole.astype(np.int64) + added).astype(whole.dtype))


def keep_outputs(node: gs.Node, kept: Array) -> None:
    for index in range(1, 5):
        axis = 1 if node.op in PRODUCTS and index == 1 else 0
        node.inputs[index] = taken(node.inputs[index], kept, axis)


def taken(tensor: gs.Constant, kept: Array, axis: int) -> gs.Constant:
    """A constant of its own, as the old one may be shared, of what lies at `kept` along an axis."""
    name = f"{tensor.name}/kept"
    if isinstance(tensor, CodedConstant):
        return CodedConstant(name, tensor.coded.take(kept, axis))
    return gs.Constant(name, np.ascontiguousarray(np.asarray(tensor.values).take(kept, axis)))
