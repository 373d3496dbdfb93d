"""Any function of one tensor of codes as a table, of 8 or 16 bits.

The function may be one float operator or a chain or diamond of them (x * sigmoid(x)), as long as one quantized tensor
goes in and each element depends on one element. The float operators run on all dequantized inputs, and what they make
is quantized. 8 bits in: a table of the 256 results, so the result is the best any kernel can give. 16 bits in: straight
lines between codes (`bevel.calib.arithmetic.piecewise`), as many as stay within its `TOLERANCE`: some hundred for the
functions that networks use.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.table import Table as TableKernel
from bevel.backends.program.ops.table import WideTable as WideTableKernel
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, DOMAIN_BITS, LOWEST, Piecewise, evaluate, piecewise
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.graph.regions import Region, evaluate_region
from bevel.passes.operators.base import Activation, Array, Function, IntegerOperator, Reason
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, ROUNDING_SHIFT, STORE
from bevel.passes.operators.formats.rescale import rescale_wide
from bevel.passes.operators.functions.channel_table import channel_tables
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import output_attributes, stored_output

# Gather counts negative indices from the end, so the stored table starts with q = 0 and ends with q = -1.
BODY = """
  index = Cast <to = 6> (x)
  y = Gather (table, index)
"""
TABLE = Function("Table", (), ("x", "table"), BODY)

LENGTHS = ", ".join(str(2**bits) for bits in range(BITS_OF_LENGTH))
LINES = f"""
  block = Constant <value_int: int = @block> ()
  fraction = Constant <value_int: int = @fraction> ()
  lowest = Constant <value_int = {LOWEST}> ()
  entries = Constant <value_int = {BITS_OF_LENGTH}> ()
  lengths = Constant <value = int64[{BITS_OF_LENGTH}] {{{LENGTHS}}}> ()
  begin = Constant <value_int = 0> ()
  end = Constant <value_int = 1> ()
  x64 = Cast <to = 7> (x)
  code = Sub (x64, lowest)
  block_length = Gather (lengths, block)
  in_block = Div (code, block_length)
  within = Mod (code, block_length)
  stored_entry = Gather (blocks, in_block)
  entry = Cast <to = 7> (stored_entry)
  first = Div (entry, entries)
  bits = Mod (entry, entries)
  length = Gather (lengths, bits)
  behind = Div (within, length)
  segment = Add (first, behind)
  offset = Mod (within, length)
  all_ends = Cast <to = 7> (ends)
  begins = Gather <axis = 1> (all_ends, begin)
  stops = Gather <axis = 1> (all_ends, end)
  left = Gather (begins, segment)
  right = Gather (stops, segment)
  rise = Sub (right, left)
  risen = Mul (rise, offset)
  raised_left = Mul (left, length)
  product = Add (raised_left, risen)
  shift = Add (bits, fraction)
{ROUNDING_SHIFT}
{STORE}
"""
WIDE_TABLE = Function("WideTable", ("block", "fraction", *OUTPUT_ATTRIBUTES), ("x", "blocks", "ends"), LINES)


class Table(IntegerOperator):
    """Its sites are regions, found by `bevel.passes.graph.regions`."""

    functions: ClassVar = (TABLE, WIDE_TABLE)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        size = prod(value.shape)
        kernel: TableKernel | WideTableKernel
        if node.op == TABLE.name:
            tables: tuple[Array, ...] = (entries(node),)
            kernel = TableKernel(size, dtype=str(tables[0].dtype))
        else:
            tables = tuple(lowering.constant(tensor) for tensor in node.inputs[1:])
            block, fraction = node.attrs["block"], node.attrs["fraction"]
            kernel = WideTableKernel(size, len(tables[1]), block, fraction, stored_output(node))
        lowering.emit(node, kernel, [value.buffer], tables, node.outputs[0], value.order)


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


def rescale(name: str, x: Activation, output: gs.Variable, scale: float, result: Output) -> list[gs.Node] | Reason:
    """x's reals in units of `scale`, in `output`: of int8 to int8 a table, of wider integers a product."""
    if (x.dtype, result.dtype) != ("int8", "int8"):
        return rescale_wide(name, x, output, scale, result)
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
    made = rescale(f"{name}/rescale", x, moved, scale, result)
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
    return [TABLE.call(name, [x, table], {}, output)]


def entries(node: gs.Node) -> Array:
    """The entries of a look-up in the order of q = -128 .. 127."""
    return np.roll(node.inputs[1].values, 128)


def wide_tabulate(
    name: str, region: Region, x: Activation, output: gs.Variable, scale: float, result: Output, opset: int
) -> tuple[list[gs.Node], Piecewise]:
    """The region between x and `output` as lines between codes."""
    codes = np.arange(2**DOMAIN_BITS) + LOWEST
    reals = evaluate_region(region, ((codes - x.zero_point) * np.float32(x.scale)).astype(np.float32), opset)
    found = defined_everywhere(reals).astype(np.float64)
    steps = np.nan_to_num(found / scale, posinf=2.0**30, neginf=-(2.0**30))
    lines = piecewise(steps + result.zero_point, result)
    attrs = {"block": lines.block, "fraction": lines.fraction} | output_attributes(replace(result, zero_point=0))
    inputs = [x.tensor, gs.Constant(f"{name}/blocks", lines.blocks), gs.Constant(f"{name}/ends", lines.ends)]
    return [WIDE_TABLE.call(name, inputs, attrs, output)], lines


def wide_entries(node: gs.Node, x: Array) -> Array:
    """What a WideTable makes of the codes x."""
    blocks, ends = (np.asarray(tensor.values) for tensor in node.inputs[1:])
    return stored_output(node).store(evaluate(x, blocks, ends, node.attrs["block"], node.attrs["fraction"]))
