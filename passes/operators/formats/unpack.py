"""Weights at their true width: model-local functions that turn packed codes into integers, in standard operators.

`Unpack1` to `Unpack8` read a stream of bits (`bevel.calib.formats.packing`), padded to whole groups of eight codes,
which are as many bytes as a code has bits. A code lies in two neighbouring bytes at most:

    code = (low byte + 256 * high byte) / 2**place mod 2**bits

and is looked up in a table of integers. `Blocks` multiplies integers by the factor of their block, `Groups` takes its
zero point off before.

Widths of a standard ONNX type that opset 21 has (INT4, UINT4, 8 bits) need no function. INT2 and UINT2 came with
opset 25, which would shut out every older runtime: two bits are unpacked.
"""

from __future__ import annotations

from bevel.passes.operators.base import Function
from bevel.passes.operators.bodies import constants

GROUP = 8  # codes
BLOCKS = "Blocks"
GROUPS = "Groups"


def unpack_name(bits: int) -> str:
    return f"Unpack{bits}"


UNPACKING = (*map(unpack_name, range(1, 9)), BLOCKS, GROUPS)


def unpack_width(name: str) -> int | None:
    """The bits of a code that the function `name` unpacks; None for other functions."""
    return int(name[-1]) if name in map(unpack_name, range(1, 9)) else None


def int32(values: list[int]) -> str:
    return f"Constant <value = int32[{len(values)}] {{{', '.join(map(str, values))}}}> ()"


def unpack(bits: int) -> Function:
    """packed uint8 [groups * bits], table [codes] -> y, of the table's type and the shape of the attribute."""
    starts = [code * bits for code in range(GROUP)]
    low = [start // 8 for start in starts]
    body = f"""
  group = Constant <value_ints = [-1, {bits}]> ()
  low_places = {int32(low)}
  high_places = {int32([min(place + 1, bits - 1) for place in low])}
  divisors = {int32([2 ** (start % 8) for start in starts])}
  bytes = Reshape (packed, group)
  low8 = Gather <axis = 1> (bytes, low_places)
  high8 = Gather <axis = 1> (bytes, high_places)
  low = Cast <to = 6> (low8)
  high = Cast <to = 6> (high8)
  byte_values = {int32([256])}
  raised = Mul (high, byte_values)
  word = Add (low, raised)
  moved = Div (word, divisors)
  codes_there_are = {int32([2**bits])}
  grouped = Mod (moved, codes_there_are)
  all = Constant <value_ints = [-1]> ()
  padded = Reshape (grouped, all)
  shape = Constant <value_ints: ints = @shape> ()
  start = Constant <value_ints = [0]> ()
  count = ReduceProd (shape)
  codes = Slice (padded, start, count)
  values = Gather (table, codes)
  y = Reshape (values, shape)
"""
    return Function(unpack_name(bits), ("shape",), ("packed", "table"), body)


# x [.., n, ..] and one factor for each `size` elements along `axis` of its n = `length` -> their products
SPREAD = f"""
{constants("length", "size")}
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  places = Range (zero, length, one)
  block = Div (places, size)
  spread = Gather <axis: int = @axis> (factors, block)
"""
BLOCKS_BODY = f"""
{SPREAD}
  y = Mul (x, spread)
"""
GROUPS_BODY = f"""
{SPREAD}
  spread_zeros = Gather <axis: int = @axis> (zeros, block)
  centered = Sub (x, spread_zeros)
  y = Mul (centered, spread)
"""
ATTRIBUTES = ("axis", "length", "size")
FUNCTIONS = (
    *map(unpack, range(1, 9)),
    Function(BLOCKS, ATTRIBUTES, ("x", "factors"), BLOCKS_BODY),
    Function(GROUPS, ATTRIBUTES, ("x", "factors", "zeros"), GROUPS_BODY),
)
