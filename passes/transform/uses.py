"""What takes up scales of channels: constants of a graph, each with the labels of what its node reads and makes.

x' = x s, y' = y t  where  y = W x + b:     W' = t W / s,  b' = t b
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import given
from bevel.passes.transform.gauges import Labels

Array = NDArray[Any]
LINEAR = frozenset({"Conv", "ConvTranspose", "Gemm"})


@dataclass(frozen=True, eq=False)
class LinearUse:
    """A product by constant weights. reads, makes: labels of its input's and output's channels, [in] and [out]."""

    node: gs.Node
    reads: Labels
    makes: Labels

    @property
    def x(self) -> gs.Tensor:
        return self.node.inputs[0]

    @property
    def weights(self) -> gs.Constant:
        return self.node.inputs[1]

    @property
    def bias(self) -> Array | None:
        bias = given(self.node, 2)
        return bias.values if isinstance(bias, gs.Constant) else None

    @property
    def channel_axis(self) -> int:
        """Of the input and of the output."""
        return -1 if self.node.op == "Gemm" else 1

    @property
    def is_depthwise(self) -> bool:
        """Whether each output channel reads one input channel."""
        return bool(self.node.op == "Conv" and self.weights.shape[1] == 1)


@dataclass(frozen=True, eq=False)
class NormUse:
    """A normalization with constant gain. makes: labels of the gain's elements."""

    node: gs.Node
    makes: Labels


@dataclass(frozen=True, eq=False)
class ConstantUse:
    """A constant that an element-by-element operator or a Concat reads. makes: labels of its elements."""

    node: gs.Node
    index: int
    makes: Labels


@dataclass(frozen=True, eq=False)
class PairUse:
    """A product of two activations whose summed channels bear inverse scales. left: [..., m, k], right: [..., k, n]."""

    node: gs.Node
    left: Labels
    right: Labels


Use = LinearUse | NormUse | ConstantUse | PairUse


def has_plain_bias(node: gs.Node) -> bool:
    """Whether what a linear node adds, if it does, is a constant number for each channel that it makes."""
    bias = given(node, 2)
    makes = int(node.outputs[0].shape[-1 if node.op == "Gemm" else 1])
    return bias is None or (isinstance(bias, gs.Constant) and bias.values.shape == (makes,))


def reads_zeros_beside(node: gs.Node) -> bool:
    """Whether it reads zeros beside its input: a padded convolution, and a ConvTranspose where its windows end."""
    padded = any(node.attrs.get("pads", ())) or str(node.attrs.get("auto_pad", "NOTSET")).startswith("SAME")
    return bool(node.op == "ConvTranspose" or padded)


def grouped(node: gs.Node) -> Array:
    """The weights of a linear node as float64 [groups, out, in, taps], whatever the operator's layout."""
    values = np.asarray(node.inputs[1].values, np.float64)
    groups = int(node.attrs.get("group", 1))
    match node.op:
        case "Gemm":
            return values.T[None, :, :, None]
        case "ConvTranspose":
            split = values.reshape(groups, -1, values.shape[1], int(np.prod(values.shape[2:])))
            return split.transpose(0, 2, 1, 3)
    return values.reshape(groups, values.shape[0] // groups, values.shape[1], -1)


def stored(node: gs.Node, weights: Array) -> NDArray[np.float32]:
    """`grouped` back in the operator's layout."""
    shape = node.inputs[1].values.shape
    match node.op:
        case "Gemm":
            found = weights[0, :, :, 0].T
        case "ConvTranspose":
            found = weights.transpose(0, 2, 1, 3).reshape(shape)
        case _:
            found = weights.reshape(shape)
    return np.ascontiguousarray(found, np.float32)


def scaled(weights: Array, reads: Array, makes: Array) -> Array:
    """`grouped` weights that read channels scaled by `reads` and make them scaled by `makes`."""
    groups, out, into, _ = weights.shape
    found: Array = weights * makes.reshape(groups, out, 1, 1) / reads.reshape(groups, 1, into, 1)
    return found
