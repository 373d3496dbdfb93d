"""Matrix product with constant weights: bias, requantize per output column.

    y = requantize((x - zx) @ w + b),    x [..., k], w [k, n]

Takes Gemm, and MatMul with or without the constant Add that follows it in quantized models of other tools. Of int8
the product is MatMulInteger's, of wider integers or sums MatMul's of int32 or int64.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.op import Op
from bevel.backends.program.ops.coded_conv import CodedConv, call_of, of_gemm
from bevel.backends.program.ops.gemm import Gemm as GemmKernel
from bevel.calib.formats.scheme import PerBlock
from bevel.passes.graph.quantizers import constant_source
from bevel.passes.operators.base import Activation, Array, Function, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.bodies import REQUANTIZE
from bevel.passes.operators.lowering import Lowering, moved, onnx_order, rows_as_they_lie
from bevel.passes.operators.products.accumulate import (
    INPUTS,
    WIDE_ATTRIBUTES,
    WIDEN,
    X_ZERO_POINT,
    accumulation,
    forms,
    kernel_bias,
    stored_as,
    stored_sums,
)
from bevel.passes.operators.widths import dtype_of

SUMS = f"""
{X_ZERO_POINT}
  sums = MatMulInteger (x, w, x_zero_point8)
  accumulator = Add (sums, b)
"""
BODY = f"""
{WIDEN}
  sums = MatMul (centered, weights)
  accumulator = Add (sums, b)
{REQUANTIZE}
"""
GEMM = forms(Function("WideGemm", WIDE_ATTRIBUTES, INPUTS, BODY), (), INPUTS, SUMS)


class Gemm(Operator):
    float_ops: ClassVar = frozenset({"Gemm", "Add"})
    limits: ClassVar = "one factor constant"
    functions: ClassVar = GEMM
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
        """Weights are [k, n] in the call, whatever the node says."""
        x, weights, *rest = site.inputs
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if not isinstance(weights, Weight):
            return Reason("its weights are not constant integers")
        if site.node.attrs.get("transB", 0):
            weights = weights.transpose((1, 0))
        turned = Site(site.node, (x, weights, *rest), site.output, site.scale, site.result)
        sums = accumulation(turned, x, channel_axis=1, summed_axis=0)
        if isinstance(sums, Reason):
            return sums
        return site.call(GEMM.of(sums), [x.tensor, *sums.constants(site, trailing=0)], sums.attributes(site, x))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        weights, bias, multiplier, shift = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        value, wide = lowering.as_it_lies(x), node.op == GEMM.wide.name
        coded = lowering.coding(node.inputs[1])
        # Rows in another order would tear blocks apart.
        in_blocks = coded is not None and isinstance(coded.blocks, PerBlock)
        in_place = len(value.shape) > len(x.shape) and not in_blocks
        if not in_place:
            value = lowering.reorder(lowering.value(x), onnx_order(len(x.shape)), x.name)

        def turned(weights: Array) -> Array:
            return np.ascontiguousarray((rows_as_they_lie(weights, value) if in_place else weights).T)

        rows, (k, n), output = prod(x.shape[:-1]), weights.shape, stored_sums(node)
        rescaling = (kernel_bias(bias, weights.T, int(node.attrs["x_zero_point"])), multiplier, shift)
        packed, laid = turned(weights), moved(coded, turned, axes=(1, 0))
        kernel: Op = GemmKernel(rows, k, n, output)
        constants: tuple[Array, ...] = (packed, *rescaling)
        narrow = (dtype_of(x), str(packed.dtype), str(bias.dtype), output.dtype) == ("int8", "int8", "int32", "int16")
        if wide and (not narrow or in_blocks):
            stored = stored_as(packed, laid)
            plain = of_gemm(rows, k, n, output)
            kernel, constants = call_of(plain, stored, rescaling, dtype_of(x), wide=bias.dtype == np.int64)
        order = onnx_order(len(y.shape))
        coding_kept = None if isinstance(kernel, CodedConv) else laid
        lowering.emit(node, kernel, [value.buffer], constants, y, order, coding_kept)


def matched_gemm(node: gs.Node) -> Match | Reason:
    if node.attrs.get("transA", 0) or (node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)) != (1.0, 1.0):
        return Reason("Gemm with transA, alpha or beta was not rewritten")
    if constant_source(node.inputs[1]) is None:
        return Reason("Gemm of two activations was not rewritten")
    return Match(node, tuple(node.inputs))


def matched_matmul(node: gs.Node) -> Match | None:
    """One by a constant matrix; others are `mat_mul`'s."""
    weights = constant_source(node.inputs[1])
    return Match(node, tuple(node.inputs)) if weights is not None and weights.values.ndim == 2 else None


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
