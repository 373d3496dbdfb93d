"""Spell a product by a constant matrix on the left as a convolution.

    w [M, K] @ x [..., K, N]    becomes   Reshape, Conv of kernel 1 over N, Reshape

Mel filter banks and discrete cosine transforms stand on that side of a spectrogram. Exact but for the order of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, static_shape, variable
from bevel.passes.graph.quantizers import is_dequantize, is_quantize


@dataclass(frozen=True)
class ConvolveByLeftMatrix(Pass):
    """In models that came quantized nothing comes between a product and its quantizers."""

    name: ClassVar[str] = "convolve-by-left-matrix"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        if any(is_quantize(node) or is_dequantize(node) for node in graph.nodes):
            return work.result(False)
        found = [node for node in alive(graph) if node.op == "MatMul" and is_left(node)]
        for node in found:
            convolve(graph, node)
        notes = [self.note(node.name, "changed", "a convolution: its constant is on the left") for node in found]
        return work.result(bool(found), notes)


def is_left(matmul: gs.Node) -> bool:
    """Whether a matrix multiplies computed floats from the left."""
    matrix, x = matmul.inputs
    if not isinstance(matrix, gs.Constant) or isinstance(x, gs.Constant) or matmul.outputs[0].dtype != np.float32:
        return False
    shape = static_shape(x)
    return matrix.values.ndim == 2 and shape is not None and len(shape) >= 2


def convolve(graph: gs.Graph, matmul: gs.Node) -> None:
    (matrix, x), result, name = matmul.inputs, matmul.outputs[0], matmul.name
    *leading, depth, length = static_shape(x) or ()
    rows = matrix.values.shape[0]
    detach(matmul)
    flat = variable(graph, f"{name}.batch", np.float32, (prod(leading), depth, length))
    product = variable(graph, f"{name}.product", np.float32, (prod(leading), rows, length))
    reshape(graph, flat.name, x, flat)
    weights = constant(graph, f"{name}.weights", matrix.values[:, :, None])
    append(graph, "Conv", name, [flat, weights], product, {"kernel_shape": [1]})
    reshape(graph, f"{name}.reshape", product, result, (*leading, rows, length))


def reshape(graph: gs.Graph, name: str, x: gs.Tensor, result: gs.Tensor, shape: tuple[int, ...] | None = None) -> None:
    """Of the shape of `result`, or the one given where that may be unknown."""
    sizes = np.array(static_shape(result) if shape is None else shape, np.int64)
    append(graph, "Reshape", name, [x, constant(graph, f"{name}.shape", sizes)], result)
