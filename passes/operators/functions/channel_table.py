"""Any function of one 8-bit tensor, of its own for each channel, as tables: x / 255 less a mean, over a deviation.

x may be a camera's uint8: the index is the value itself. A table for all channels is the case of one.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.channel_table import ENTRIES
from bevel.backends.program.ops.channel_table import ChannelTable as ChannelTableKernel
from bevel.passes.operators.base import Array, Function, IntegerOperator
from bevel.passes.operators.lowering import Lowering

# `first`: for each channel, where in `table` the entry for 0 stands.
BODY = """
  index = Cast <to = 6> (x)
  place = Add (index, first)
  y = Gather (table, place)
"""
CHANNEL_TABLE = Function("ChannelTable", (), ("x", "table", "first"), BODY)


class ChannelTable(IntegerOperator):
    functions: ClassVar = (CHANNEL_TABLE,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        tables, axis = entries(node), table_axis(node)
        if axis is None:
            outer, inner = prod(value.shape), 1
        else:
            place = value.order.index(axis % len(value.shape))
            outer, inner = prod(value.stored[:place]), prod(value.stored[place + 1 :])
        kernel = ChannelTableKernel(outer, len(tables), inner, str(np.dtype(node.inputs[0].dtype)), str(tables.dtype))
        lowering.emit(node, kernel, [value.buffer], (tables,), node.outputs[0], value.order)


def channel_tables(name: str, x: gs.Tensor, tables: Array, axis: int | None, output: gs.Variable) -> gs.Node:
    """`tables`: [channels, 256], for x from the lowest value on; `axis`: of the channels, where there are several."""
    zero = 0 if x.dtype == np.uint8 else ENTRIES // 2
    first = np.arange(len(tables), dtype=np.int32) * ENTRIES + zero
    shape = [] if axis is None else [len(tables) if place == axis else 1 for place in range(axis, 0)]
    constants = [gs.Constant(f"{name}/table", tables.ravel()), gs.Constant(f"{name}/first", first.reshape(shape))]
    return CHANNEL_TABLE.call(name, [x, *constants], {}, output)


def entries(node: gs.Node) -> Array:
    """Of 8 or 16 bits: [channels, 256]."""
    tables: Array = np.asarray(node.inputs[1].values).reshape(-1, ENTRIES)
    return tables


def table_axis(node: gs.Node) -> int | None:
    """The axis of the channels, counted from the last; None for one table."""
    shape = np.shape(node.inputs[2].values)
    return -len(shape) if shape else None
