"""Any function of one int16 tensor: straight lines between codes (`bevel.calib.arithmetic.piecewise`).

As `table`, for codes of which a table would have 65536 entries. The function is evaluated at all of them, and the lines
are as many as keep it within `bevel.calib.arithmetic.piecewise.TOLERANCE`: some hundred for the functions that networks
use.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import ClassVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.wide_table import WideTable as WideTableKernel
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, DOMAIN_BITS, LOWEST, Piecewise, evaluate, piecewise
from bevel.calib.arithmetic.requantize import Output
from bevel.passes.graph.regions import Region, evaluate_region
from bevel.passes.operators.base import DOMAIN, Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, PLACE, ROUNDING_SHIFT, function
from bevel.passes.operators.formats.wide_values import output_attributes
from bevel.passes.operators.functions.table import defined_everywhere
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.wide_sums import stored_output

LENGTHS = ", ".join(str(2**bits) for bits in range(BITS_OF_LENGTH))
BODY = f"""
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
{PLACE}
  y = Cast <to: int = @y_type> (clamped)
"""


class WideTable(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # sites are regions, as those of Table
    integer_op: ClassVar = "WideTable"

    def match(self, node: gs.Node) -> Match | Reason | None:
        return None

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        return Reason("tables are made of regions, not of single nodes")

    def function(self, opset: int) -> onnx.FunctionProto:
        attributes = ("block", "fraction", *OUTPUT_ATTRIBUTES, "y_type")
        return function(self.integer_op, attributes, ("x", "blocks", "ends"), BODY, opset)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        blocks, ends = (lowering.constant(tensor) for tensor in node.inputs[1:])
        kernel = WideTableKernel(
            size=prod(value.shape),
            segments=len(ends),
            block=node.attrs["block"],
            fraction=node.attrs["fraction"],
            output=stored_output(node),
        )
        lowering.emit(node, kernel, [value.buffer], (blocks, ends), node.outputs[0], value.order)


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
    return [gs.Node("WideTable", name, attrs, inputs, [output], domain=DOMAIN)], lines


def wide_entries(node: gs.Node, x: Array) -> Array:
    """What a WideTable makes of the codes x."""
    blocks, ends = (np.asarray(tensor.values) for tensor in node.inputs[1:])
    return stored_output(node).store(evaluate(x, blocks, ends, node.attrs["block"], node.attrs["fraction"]))
