"""Rounding of rows to few codes between their ends: `bevel.calib.arithmetic.round_rows.round_rows`.

    y = low + d * min(floor((q - low + floor(d / 2)) / d), levels),     d = max(ceil((high - low) / levels), 1)

low and high are a row's ends along the last axis. Nothing that is divided is negative, so that ONNX's division of
integers is a floor; where a row is all beyond the limit, high - low may be, and d is 1 all the same.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.round_rows import RoundRows as RoundRowsKernel
from bevel.calib.arithmetic.round_rows import limit
from bevel.passes.operators.base import Function, IntegerOperator
from bevel.passes.operators.bodies import constants_of
from bevel.passes.operators.lowering import Lowering

BODY = f"""
{constants_of(onnx.TensorProto.INT32, "levels", "limit")}
  one = Constant <value = int32 {{1}}> ()
  two = Constant <value = int32 {{2}}> ()
  along = Constant <value_ints = [-1]> ()
  c = Cast <to = 6> (q)
  low = ReduceMin (c, along)
  largest = ReduceMax (c, along)
  high = Min (largest, limit)
  span = Sub (high, low)
  less_one = Sub (levels, one)
  raised = Add (span, less_one)
  least_step = Div (raised, levels)
  d = Max (least_step, one)
  half = Div (d, two)
  above = Sub (c, low)
  moved = Add (above, half)
  unclamped = Div (moved, d)
  code = Min (unclamped, levels)
  rounded = Mul (code, d)
  placed = Add (rounded, low)
  y = Cast <to = 5> (placed)
"""
ROUND_ROWS = Function("RoundRows", ("levels", "limit"), ("q",), BODY)


class RoundRows(IntegerOperator):
    functions: ClassVar = (ROUND_ROWS,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        """A row lies side by side where its axis is stored last; values of other orders are moved."""
        q = node.inputs[0]
        source, order = lowering.rows(q, len(q.shape) - 1)
        n = int(q.shape[-1])
        kernel = RoundRowsKernel(rows=prod(q.shape) // n, n=n, levels=int(node.attrs["levels"]))
        lowering.emit(node, kernel, [source], (), node.outputs[0], order)


def round_rows(name: str, q: gs.Tensor, y: gs.Variable, levels: int) -> gs.Node:
    """`y` of `q`, both int16, of one axis or more."""
    return ROUND_ROWS.call(name, [q], {"levels": levels, "limit": limit(levels)}, y)
