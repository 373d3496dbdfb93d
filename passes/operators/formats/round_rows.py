"""Rounding of rows to few levels on a step of their own: `bevel.calib.arithmetic.round_rows.round_rows`.

y = d * floor((q + floor(d / 2)) / d),     d = max(ceil(max |q| / levels), 1) along the last axis
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.round_rows import RoundRows as RoundRowsKernel
from bevel.calib.arithmetic.round_rows import limit
from bevel.passes.operators.base import Function, IntegerOperator
from bevel.passes.operators.lowering import Lowering

BODY = """
  levels64 = Constant <value_int: int = @levels> ()
  levels = Cast <to = 6> (levels64)
  limit64 = Constant <value_int: int = @limit> ()
  limit = Cast <to = 6> (limit64)
  lowest = Neg (limit)
  one = Constant <value = int32 {1}> ()
  two = Constant <value = int32 {2}> ()
  along = Constant <value_ints = [-1]> ()
  wide = Cast <to = 6> (q)
  c = Clip (wide, lowest, limit)
  low = ReduceMin (c, along)
  high = ReduceMax (c, along)
  span = Sub (high, low)
  less_one = Sub (levels, one)
  raised = Add (span, less_one)
  least_step = Div (raised, levels)
  d = Max (least_step, one)
  half = Div (d, two)
  above = Sub (c, low)
  moved = Add (above, half)
  code = Div (moved, d)
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
