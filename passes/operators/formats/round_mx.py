"""Rounding to blocks that share a power of two, of integers that are finer than the blocks' elements.

    y = bevel.calib.formats.mx.MxRounding.round(q):  int32 parts of a step to int16 steps, one exponent for a block of
    channels

A block's largest magnitude gives the exponent of the MX specification; that exponent and its two neighbours are tried,
and the first with the least sum of squared errors is kept. Rounding a to multiples of d = 2 * h, ties to even, is
(a + h - 1 + (a & d != 0)) & -d; d is 2**shift of the block, or more for an element whose mantissa would be too long:
`spacing` says for each magnitude, in units of the smallest 2**shift, how many of these lie between its neighbours.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.round_mx import RoundMx as RoundMxKernel
from bevel.calib.formats.mx import AROUND, MxRounding
from bevel.passes.operators.base import Array, Function, IntegerOperator
from bevel.passes.operators.lowering import Lowering

POWERS = 31
LIST = ", ".join(str(2**power) for power in range(POWERS))
SCALARS = ("largest", "exponents", "fraction", "top")
SHAPES = ("flat", "padding", "blocked", "padded", "channels")
ATTRIBUTES = (*SCALARS, *SHAPES, "axis")


def candidate(i: int, step: int) -> str:
    """`rounded_i` and `error_i` by the exponent `step` beside the specification's."""
    return f"""
  step_{i} = Constant <value = int32 {{{step}}}> ()
  wanted_{i} = Add (floor, step_{i})
  exponent_{i} = Clip (wanted_{i}, zero, exponents32)
  shift_{i} = Add (exponent_{i}, fraction32)
  block_divisor_{i} = Gather (powers, shift_{i})
  block_half_{i} = Div (block_divisor_{i}, two)
  half_{i} = Max (own_half, block_half_{i})
  divisor_{i} = Add (half_{i}, half_{i})
  bit_{i} = BitwiseAnd (magnitude, divisor_{i})
  odd_{i} = Min (bit_{i}, one)
  raised_{i} = Add (less_one, half_{i})
  sum_{i} = Add (raised_{i}, odd_{i})
  mask_{i} = Neg (divisor_{i})
  unclamped_{i} = BitwiseAnd (sum_{i}, mask_{i})
  top_{i} = Mul (block_divisor_{i}, largest32)
  rounded_{i} = Min (unclamped_{i}, top_{i})
  difference_{i} = Sub (rounded_{i}, magnitude)
  wide_{i} = Cast <to = 7> (difference_{i})
  square_{i} = Mul (wide_{i}, wide_{i})
  error_{i} = ReduceSum (square_{i}, along)
"""


def choice(i: int) -> str:
    """`best_i` and `least_i` of the candidates up to i, the first where errors are equal."""
    return f"""
  better_{i} = Less (error_{i}, least_{i - 1})
  best_{i} = Where (better_{i}, rounded_{i}, best_{i - 1})
  least_{i} = Where (better_{i}, error_{i}, least_{i - 1})
"""


def lines(texts: Any) -> str:
    return "\n".join(f"  {text}" for text in texts)


BODY = f"""
{lines(f"{name}64 = Constant <value_int: int = @{name}> ()" for name in SCALARS)}
{lines(f"{name}32 = Cast <to = 6> ({name}64)" for name in SCALARS)}
{lines(f"{name} = Constant <value_ints: ints = @{name}> ()" for name in SHAPES)}
  zero = Constant <value = int32 {{0}}> ()
  one = Constant <value = int32 {{1}}> ()
  two = Constant <value = int32 {{2}}> ()
  powers = Constant <value = int32[{POWERS}] {{{LIST}}}> ()
  along = Constant <value_ints = [2]> ()
  last = Constant <value_ints = [-1]> ()
  flattened = Reshape (q, flat)
  filled = Pad (flattened, padding)
  blocks = Reshape (filled, blocked)
  magnitude = Abs (blocks)
  less_one = Sub (magnitude, one)
  block_largest = ReduceMax (magnitude, along)
  column = Unsqueeze (block_largest, last)
  reached = GreaterOrEqual (column, powers)
  counted = Cast <to = 6> (reached)
  bits = ReduceSum <keepdims = 0> (counted, last)
  bit = Sub (bits, one)
  unshifted = Sub (bit, top32)
  floor = Sub (unshifted, fraction32)
  below = Sub (floor, one)
  lowest = Clip (below, zero, exponents32)
  lowest_shift = Add (lowest, fraction32)
  lowest_divisor = Gather (powers, lowest_shift)
  lowest_half = Div (lowest_divisor, two)
  index = Div (magnitude, lowest_divisor)
  multiple = Gather (spacing, index)
  own_half = Mul (multiple, lowest_half)
{"".join(candidate(i, step) for i, step in enumerate(AROUND))}
  best_0 = Identity (rounded_0)
  least_0 = Identity (error_0)
{"".join(choice(i) for i in range(1, len(AROUND)))}
  part = Gather (powers, fraction32)
  steps = Div (best_{len(AROUND) - 1}, part)
  sign = Sign (blocks)
  signed = Mul (steps, sign)
  narrow = Cast <to = 5> (signed)
  joined = Reshape (narrow, padded)
  start = Constant <value_ints = [0]> ()
  axis = Constant <value_ints = [1]> ()
  cut = Slice (joined, start, channels, axis)
  shape = Shape (q)
  y = Reshape (cut, shape)
"""
ROUND_MX = Function("RoundMx", ATTRIBUTES, ("q", "spacing"), BODY)


class RoundMx(IntegerOperator):
    functions: ClassVar = (ROUND_MX,)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        """Blocks lie side by side where their axis is stored last; values of other orders are moved."""
        q, axis = node.inputs[0], int(node.attrs["axis"])
        source, order = lowering.rows(q, axis)
        channels = prod(q.shape[axis : axis + 1])
        kernel = RoundMxKernel(rows=prod(q.shape) // channels, channels=channels, rounding=rounding_of(node))
        lowering.emit(node, kernel, [source], (), node.outputs[0], order)


def round_mx(name: str, q: gs.Tensor, y: gs.Variable, rounding: MxRounding, axis: int) -> gs.Node:
    """`y`, int16 steps, of int32 `q`, in blocks along `axis`; a scalar is a block of its own."""
    shape = [int(size) for size in q.shape] or [1]
    axis %= len(shape)
    before, channels, after = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    block = min(rounding.block, channels)
    blocks = -(-channels // block)
    attrs = {
        "largest": rounding.largest,
        "exponents": rounding.exponents,
        "fraction": rounding.fraction,
        "top": rounding.top,
        "flat": [before, channels, after],
        "padding": [0, 0, 0, 0, blocks * block - channels, 0],
        "blocked": [before, blocks, block, after],
        "padded": [before, blocks * block, after],
        "channels": [channels],
        "axis": axis,
    }
    spacing = gs.Constant(f"{name}/spacing", spacings(rounding))
    return ROUND_MX.call(name, [q, spacing], attrs, y)


def spacings(rounding: MxRounding) -> Array:
    """How far apart the elements are around each magnitude below 2**(top + 2), which a block's largest stays below."""
    magnitude = np.arange(2 ** (rounding.top + 2))
    powers = np.frexp(np.maximum(magnitude, 1))[1] - 1 - rounding.mantissa
    result: Array = np.left_shift(1, np.maximum(powers, 0)).astype(np.int32)
    return result


def rounding_of(node: gs.Node) -> MxRounding:
    mantissa = int((node.inputs[1].values == 1).sum()).bit_length() - 2
    names = ("largest", "exponents", "fraction")
    largest, exponents, fraction = (int(node.attrs[name]) for name in names)
    return MxRounding(mantissa, largest, exponents, int(node.attrs["blocked"][2]), fraction)
