"""Float products by stored weights keep these as codes: `bevel.backends.program.ops.mat_mul_n_bits` decodes them.

    DequantizeLinear (codes, scale, zero) ─> MatMul ─> Add (constant)     ==     MatMulNBits

Taken are Gemm and MatMul by a matrix of integers of up to 8 bits, whose scales are one for each output, for all, or for
blocks along the inputs. Other float nodes get their weights as floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.backends.program.op import Array
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.passes.graph.quantizers import Parameters
from bevel.passes.operators.lowering import Lowering, onnx_order

MATRIX = 2  # axes
BYTES = (np.int8, np.uint8)


@dataclass(frozen=True, eq=False)
class StoredMatrix:
    """codes: int8 or uint8, two axes; found: their scale and zero point; size: of blocks along the axis, if any."""

    codes: NDArray[np.integer[Any]]
    found: Parameters
    size: int


class StoredWeights(gs.Constant):  # type: ignore[misc]
    """A float constant that knows of which codes it was made."""

    def __init__(self, name: str, reals: Array, stored: StoredMatrix) -> None:
        super().__init__(name, reals)
        self.stored = stored


@dataclass(frozen=True, eq=False)
class WeightProduct:
    """What a node multiplies: codes [k, n], scale and zero point [groups, n], bias [n] or None."""

    codes: NDArray[np.integer[Any]]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    group: int
    bias: NDArray[np.float32] | None

    def call(self, rows: int) -> tuple[MatMulNBits, tuple[Array, ...]]:
        """The operator and its constants. A code has the fewest bits that hold all of them and the zero points."""
        k, n = self.codes.shape
        low = min(int(self.codes.min()), int(self.zero_point.min()))
        high = max(int(self.codes.max()), int(self.zero_point.max()))
        bits = max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + (low < 0)
        least = -(2 ** (bits - 1)) if low < 0 else 0
        zeros = self.zero_point - least
        same = int(zeros.flat[0]) if (zeros == zeros.flat[0]).all() else None
        op = MatMulNBits(rows, k, n, max(bits, 1), self.group, same, self.bias is not None)
        return op, op.packed(self.codes.astype(np.int32) - least, self.scale, zeros, self.bias)


def stored(name: str, codes: Array, found: Parameters, size: int, reals: Array) -> gs.Constant:
    """The float constant `reals` of a DequantizeLinear; with its codes where a product can take them."""
    if codes.ndim == MATRIX and codes.size and codes.dtype in BYTES:
        return StoredWeights(name, reals, StoredMatrix(codes, found, size))
    return gs.Constant(name, reals)


def is_weight_product(node: gs.Node) -> bool:
    return weight_product(node) is not None


def weight_product(node: gs.Node) -> WeightProduct | None:
    """None for other nodes, and where weights have a scale for each input."""
    if node.op not in ("MatMul", "Gemm") or not isinstance(node.inputs[1], StoredWeights) or node.domain:
        return None
    x, weights, *rest = node.inputs
    if not isinstance(x, gs.Variable) or x.dtype != np.float32 or node.attrs.get("transA", 0):
        return None
    if (node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)) != (1.0, 1.0):
        return None
    turned, kept = bool(node.attrs.get("transB", 0)), weights.stored
    summed = 1 if turned else 0
    groups = of_groups(kept, summed)
    n = kept.codes.shape[1 - summed]
    bias = rest[0] if rest and not rest[0].is_empty() else None
    if groups is None or (bias is not None and not is_row(bias, n)):
        return None
    scale, zero_point, size = groups
    codes = kept.codes
    row = None if bias is None else np.broadcast_to(np.asarray(bias.values).reshape(-1), (n,))
    return WeightProduct(codes.T if turned else codes, scale, zero_point, size, row)


def of_groups(kept: StoredMatrix, summed: int) -> tuple[NDArray[np.float32], NDArray[np.int32], int] | None:
    """Scale and zero point, [groups, n], and the inputs of a group."""
    k, n = kept.codes.shape[summed], kept.codes.shape[1 - summed]
    scale, zero_point, axis = kept.found.scale, kept.found.zero_point.astype(np.int32), kept.found.axis % MATRIX
    if scale.ndim == MATRIX and axis == summed:
        groups = (scale, zero_point) if summed == 0 else (scale.T, zero_point.T)
        return *groups, min(kept.size, k)
    if scale.ndim == 0 or (scale.ndim == 1 and axis != summed):
        return np.broadcast_to(scale, (1, n)), np.broadcast_to(zero_point, (1, n)), k
    return None


def is_row(bias: gs.Tensor, n: int) -> bool:
    """Whether it is a constant that adds the same to every row of n."""
    return isinstance(bias, gs.Constant) and bias.values.dtype == np.float32 and bias.values.size in (1, n)


def take_biases(graph: gs.Graph) -> None:
    """Let a MatMul add the constant row that an Add behind it does: its third input here, as a Gemm's is."""
    outputs = {tensor.name for tensor in graph.outputs}
    for node in graph.nodes:
        product = node.outputs[0] if node.op == "MatMul" and is_weight_product(node) else None
        if product is None or product.name in outputs or len(product.outputs) != 1:
            continue
        (reader,) = product.outputs
        others = [one for one in reader.inputs if one is not product]
        row = product.shape[-1]
        if reader.op != "Add" or len(others) != 1 or not is_row(others[0], row) or rank(others[0]) > len(product.shape):
            continue
        if others[0].values.size > 1 and others[0].values.shape[-1] != row:
            continue
        node.inputs.append(others[0])
        node.outputs, reader.outputs = [reader.outputs[0]], []
    graph.cleanup()


def rank(tensor: gs.Constant) -> int:
    return int(np.asarray(tensor.values).ndim)


def lower_product(node: gs.Node, found: WeightProduct, lowering: Lowering) -> None:
    x, y = node.inputs[0], node.outputs[0]
    op, constants = found.call(prod(x.shape[:-1]))
    lowering.emit(node, op, [lowering.read(x, onnx_order(len(x.shape)))], constants, y, onnx_order(len(y.shape)))
