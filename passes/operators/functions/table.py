"""Any function of one 8-bit tensor as a table of its 256 results, of 8 or 16 bits. `wide_table` is for 16 bits in.

The function may be one float operator or a chain or diamond of them (x * sigmoid(x)), as long as one quantized tensor
goes in and each element depends on one element. The table is the float operators run on all 256 dequantized inputs,
then quantized, so the result is the best any kernel can give.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.table import Table as TableKernel
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.graph.regions import Region, evaluate_region
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import function
from bevel.passes.operators.formats.wide_rescale import wide_rescale
from bevel.passes.operators.functions.channel_table import channel_tables
from bevel.passes.operators.lowering import Lowering

# Gather counts negative indices from the end, so the stored table starts with q = 0 and ends with q = -1.
BODY = """
  index = Cast <to = 6> (x)
  y = Gather (table, index)
"""


class Table(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # sites are regions, found by `bevel.passes.graph.regions`
    integer_op: ClassVar = "Table"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        return Reason("tables are made of regions, not of single nodes")

    def function(self, opset: int) -> onnx.FunctionProto:
        return function(self.integer_op, (), ("x", "table"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        table = entries(node)
        kernel = TableKernel(size=int(np.prod(value.shape)), dtype=str(table.dtype))
        lowering.emit(node, kernel, [value.buffer], (table,), node.outputs[0], value.order)


def tabulate(
    name: str, region: Region, x: Activation, output: gs.Variable, scale: float, result: Output, opset: int
) -> list[gs.Node]:
    """The region between x and `output` as one table look-up."""
    found = defined_everywhere(evaluate_region(region, reals_of_codes(x), opset))
    if region.axis is not None:
        return [channel_tables(name, x.tensor, quantized(found, scale, result), region.axis, output)]
    return look_up(name, x.tensor, quantized(found, scale, result), output)


def defined_everywhere(values: Array) -> Array:
    """`values`, in the order of the codes, with that of the nearest code where the function is not a number."""
    if values.ndim > 1:
        return np.stack([defined_everywhere(one) for one in values])
    places, known = np.arange(len(values)), np.flatnonzero(~np.isnan(values))
    if not known.size:
        return values
    after = np.searchsorted(known, places).clip(0, len(known) - 1)
    before = (after - 1).clip(0)
    nearer = places - known[before] <= known[after] - places
    filled: Array = values[np.where(nearer, known[before], known[after])]
    return filled


def rescale(name: str, x: Activation, output: gs.Variable, scale: float, result: Output) -> list[gs.Node]:
    """The same reals on another scale, as a table."""
    return look_up(name, x.tensor, quantized(reals_of_codes(x), scale, result), output)


def reals_of_codes(x: Activation) -> Array:
    """What q = -128 .. 127 stand for, as DequantizeLinear computes it."""
    reals: Array = (np.arange(-128, 128) - x.zero_point).astype(np.float32) * np.float32(x.scale)
    return reals


def on_scale(name: str, x: Activation, scale: float, result: Output) -> tuple[gs.Tensor, list[gs.Node]] | Reason:
    """x's integers as integers of `scale` and `result`, and the nodes that make them, if any are needed."""
    if (x.scale, x.zero_point, x.dtype) == (scale, result.zero_point, result.dtype):
        return x.tensor, []
    moved = gs.Variable(f"{name}/rescaled", np.dtype(result.dtype), list(x.tensor.shape))
    if (x.dtype, result.dtype) == ("int8", "int8"):
        return moved, rescale(f"{name}/rescale", x, moved, scale, result)
    made = wide_rescale(f"{name}/rescale", x, moved, scale, result)
    return made if isinstance(made, Reason) else (moved, made)


def quantized(reals: Array, scale: float, result: Output) -> Array:
    """Integers as QuantizeLinear makes them: a float32 quotient, rounded to nearest, ties to even."""
    with np.errstate(over="ignore"):
        quotients = reals.astype(np.float32) / np.float32(scale)
    steps = np.clip(np.rint(np.nan_to_num(quotients)), -(2.0**30), 2.0**30)
    return result.store(steps.astype(np.int64))


def look_up(name: str, x: gs.Tensor, values: Array, output: gs.Variable) -> list[gs.Node]:
    """`values` in the order of q = -128 .. 127."""
    table = gs.Constant(f"{name}/table", np.roll(values, -128))
    return [gs.Node("Table", name, {}, [x, table], [output], domain="bevel")]


def entries(node: gs.Node) -> Array:
    """The entries of a look-up in the order of q = -128 .. 127."""
    return np.roll(node.inputs[1].values, 128)
