"""Matrix product with constant weights: MatMulInteger, bias, requantize per output column.

    y = requantize((x - zx) @ w + b),    x [..., k], w [k, n]

Takes Gemm, and MatMul with or without the constant Add that follows it in quantized models of other tools.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.gemm import Gemm as GemmKernel
from bevel.passes.graph.quantizers import constant_source
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZED, constants, function
from bevel.passes.operators.lowering import Lowering, onnx_order, rows_as_they_lie
from bevel.passes.operators.products.accumulate import accumulation, stored_bytes
from bevel.passes.operators.products.wide_gemm import WideGemm
from bevel.passes.operators.products.wide_sums import shorter_in_blocks

SUMS = f"""
{constants("x_zero_point")}
  x_zero_point8 = Cast <to = 3> (x_zero_point)
  sums = MatMulInteger (x, w, x_zero_point8)
  accumulator = Add (sums, b)
"""


class Gemm(Operator):
    float_ops: ClassVar = frozenset({"Gemm", "MatMul", "Add"})
    limits: ClassVar = "one factor constant"
    integer_op: ClassVar = "Gemm"
    even: ClassVar = False
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        match node.op:
            case "Gemm":
                return matched_gemm(node)
            case "MatMul":
                return matched_matmul(node)
            case "Add":
                return matched_sum(node)
        return None

    def weight_axis(self, match: Match, index: int) -> int | None:
        if index != 1:
            return None
        return 0 if match.node.attrs.get("transB", 0) else 1

    def bias_index(self, match: Match) -> int | None:
        return 2

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, weights, *rest = site.inputs
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if not isinstance(weights, Weight):
            return Reason("its weights are not constant integers")
        if site.node.attrs.get("transB", 0):
            weights = weights.transpose((1, 0))
        turned = Site(site.node, (x, weights, *rest), site.output, site.scale, site.result)
        sums = accumulation(turned, x, channel_axis=1)
        if isinstance(sums, Reason) or shorter_in_blocks(weights, summed_axis=0):
            return WideGemm().integerize(turned)
        attrs = {"x_zero_point": x.zero_point} | sums.stored(site)
        op = EvenGemm.integer_op if sums.even else self.integer_op
        return site.call(op, [x.tensor, *sums.constants(site, trailing=0)], attrs)

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = ("x_zero_point", *OUTPUT_ATTRIBUTES)
        return function(
            self.integer_op, attributes, ("x", "w", "b", "multiplier", "shift"), SUMS + REQUANTIZED[self.even], opset
        )

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        value = lowering.as_it_lies(x)
        flattened = len(value.shape) > len(x.shape)
        packed = np.ascontiguousarray((rows_as_they_lie(weights, value) if flattened else weights).T)
        folded = bias.astype(np.int64) - int(node.attrs["x_zero_point"]) * packed.astype(np.int64).sum(axis=1)
        kernel = GemmKernel(
            rows=prod(x.shape[:-1]),
            k=packed.shape[1],
            n=packed.shape[0],
            output=stored_bytes(node, self.even),
        )
        order = onnx_order(len(y.shape))
        source = value if flattened else lowering.reorder(value, onnx_order(len(x.shape)), x.name)
        lowering.emit(node, kernel, [source.buffer], (packed, folded.astype(np.int32), multiplier, shift), y, order)


class EvenGemm(Gemm):
    """Gemm whose sums may lie on halves, which go to the even integer."""

    float_ops: ClassVar[frozenset[str]] = frozenset()  # made by Gemm
    integer_op: ClassVar = "EvenGemm"
    even: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None


def matched_gemm(node: gs.Node) -> Match | Reason:
    if node.attrs.get("transA", 0) or (node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)) != (1.0, 1.0):
        return Reason("Gemm with transA, alpha or beta was not rewritten")
    if constant_source(node.inputs[1]) is None:
        return Reason("both factors are computed; only products with constant weights have an integer kernel")
    return Match(node, tuple(node.inputs))


def matched_matmul(node: gs.Node) -> Match | Reason:
    weights = constant_source(node.inputs[1])
    if weights is None:
        return Reason("both factors are computed; only products with constant weights have an integer kernel")
    if weights.values.ndim != 2:
        return Reason("its weights are not a matrix")
    return Match(node, tuple(node.inputs))


def matched_sum(node: gs.Node) -> Match | Reason | None:
    """MatMul + constant Add, where nothing else reads the product."""
    for product, bias in (node.inputs, node.inputs[::-1]):
        producers = product.inputs
        if len(producers) != 1 or producers[0].op != "MatMul" or len(product.outputs) != 1:
            continue
        found = matched_matmul(producers[0])
        constant = constant_source(bias)
        if isinstance(found, Match) and constant is not None and constant.values.size in (1, node.outputs[0].shape[-1]):
            return Match(node, (*found.inputs, bias))
    return None
