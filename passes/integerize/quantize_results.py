"""A quantizer for the results of a quantized model that ends in a product and left it float, as trained models do.

The largest result that there can be follows from the weights and the input's codes: max|y| <= max|x| * sum|w| + |b|. So
an int16 quantizer of that range needs no data and never clips, and the product runs in integers like all others. Its
price is half a step of 1/32767 of that bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.parameters import is_parameter
from bevel.passes.canonicalize.stored_weights import output_axis, parameter_values, parts, scale_axis
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import Array, producer
from bevel.passes.graph.quantizers import is_dequantize, parameters

LARGEST = np.iinfo(np.int16).max
PRODUCTS = ("Conv", "Gemm")


@dataclass(frozen=True)
class QuantizeResults(Pass):
    """For canonical graphs that came with quantizers; those stand behind what only moves integers (CarryQuantizers)."""

    name: ClassVar[str] = "quantize-results"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        notes = []
        for result in work.graph.outputs:
            node = producer(result)
            bound = largest_result(node) if node is not None else None
            if node is None or bound is None:
                continue
            put_quantizer(work.graph, node, np.float32(bound / LARGEST))
            text = f"its result had no quantizer: int16, for all that can come of it, {bound:.3g}"
            notes.append(self.note(node.name, "chosen", text, largest_result=bound))
        return work.result(bool(notes), notes)


def largest_result(node: gs.Node) -> float | None:
    """A bound of what a product of dequantized tensors can give; None for other nodes."""
    if (
        node.op not in PRODUCTS
        or isinstance(node.inputs[1], gs.Constant)
        or not all(map(is_parameter, node.inputs[1:]))
    ):
        return None
    x = producer(node.inputs[0])
    if x is None or not is_dequantize(x) or isinstance(x.inputs[0], gs.Constant) or (found := parameters(x)) is None:
        return None
    if found.scale.ndim or found.zero_point.dtype.kind not in "iu":
        return None
    limits, zero_point = np.iinfo(found.zero_point.dtype), int(found.zero_point)
    largest = float(found.scale) * max(limits.max - zero_point, zero_point - limits.min)
    sums = absolute_sums(node) * largest + np.abs(parameter_values(node.inputs[2]))
    return float(sums.max()) or None


def absolute_sums(node: gs.Node) -> Array:
    """sum|w| for each output channel: [channels]."""
    dequantize = node.inputs[1].inputs[0]
    codes, scale, zero_point = parts(dequantize)
    along = [-1 if place == scale_axis(dequantize) else 1 for place in range(codes.ndim)]
    scale, zero_point = (one.reshape(along) if one.size > 1 else one.reshape(()) for one in (scale, zero_point))
    weights = np.abs((codes.astype(np.float64) - zero_point) * scale)
    sums: Array = weights.sum(axis=tuple(place for place in range(codes.ndim) if place != output_axis(node)))
    return sums


def put_quantizer(graph: gs.Graph, node: gs.Node, scale: np.float32) -> None:
    """Between a node and its result, which keeps its name."""
    result = node.outputs[0]
    raw = gs.Variable(f"{result.name}/float", np.float32, result.shape)
    codes = gs.Variable(f"{result.name}/quantized", np.int16, result.shape)
    node.outputs = [raw]
    numbers = [
        gs.Constant(f"{result.name}/scale", np.asarray(scale)),
        gs.Constant(f"{result.name}/zero_point", np.zeros((), np.int16)),
    ]
    graph.nodes.append(gs.Node("QuantizeLinear", f"{result.name}/quantize", {}, [raw, *numbers], [codes]))
    graph.nodes.append(gs.Node("DequantizeLinear", f"{result.name}/dequantize", {}, [codes, *numbers], [result]))
