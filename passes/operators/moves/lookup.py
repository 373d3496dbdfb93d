"""Gather of rows of a constant table, an embedding: the table has the result's scale, and its integers are copied."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.lookup import Lookup as LookupKernel
from bevel.passes.operators.base import Activation, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.functions.table import quantized
from bevel.passes.operators.lowering import Lowering, onnx_order
from bevel.passes.operators.widths import dtype_of


class Lookup(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # a Gather, which stands in the list already
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != "Gather" or node.outputs[0].dtype != np.float32 or not is_table(node.inputs[0]):
            return None
        if isinstance(node.inputs[1], gs.Constant):
            return Reason("it picks constants by constants")
        rank = len(node.inputs[0].shape)
        if int(node.attrs.get("axis", 0)) % rank or rank != 2:
            return Reason("it looks up along another axis than the first of a table")
        return Match(node, (node.inputs[0],), (node.inputs[1],))

    def moves(self, match: Match) -> bool:
        return False

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        table = site.inputs[0]
        if isinstance(table, Activation):
            return Reason("its table is computed")
        reals = table.reals if isinstance(table, Weight) else table
        codes = quantized(reals, site.scale, site.result)
        if site.steps is not None:
            codes = site.result.store(site.steps.round_float((reals / site.scale).astype(np.float32)))
        inputs = [site.constant("table", codes), site.others[0]]
        return [gs.Node("Gather", site.name, {"axis": 0}, inputs, [site.output])]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        lower_lookup(node, lowering)


def is_table(tensor: gs.Tensor) -> bool:
    """Whether it is constant, stored as floats or as integers."""
    if isinstance(tensor, gs.Constant):
        return True
    makers = tensor.inputs
    return len(makers) == 1 and makers[0].op == "DequantizeLinear" and isinstance(makers[0].inputs[0], gs.Constant)


def lower_lookup(node: gs.Node, lowering: Lowering) -> None:
    table, indices = lowering.constant(node.inputs[0]), node.inputs[1]
    order = onnx_order(len(indices.shape))
    rows, width = table.shape
    kernel = LookupKernel(prod(indices.shape), rows, width, str(table.dtype), dtype_of(indices))
    result = node.outputs[0]
    lowering.emit(node, kernel, [lowering.read(indices, order)], (table,), result, onnx_order(len(result.shape)))
