"""Integer-only Softmax: exponentials from a table of the distance to the row's maximum, one division an element.

    e = table[max(x) - x],  table[d] = round(exp(-sx * d) * 2**k),    y = (256 * e + sum(e) // 2) // sum(e) - 128

The result has scale 1/256 and zero point -128, as TensorFlow Lite's int8 Softmax. k is the largest that keeps
n * 2**k and 256 * 2**k within 31 bits. The table replaces the polynomial of Kim et al. 2021, "I-BERT", section 3.5: an
8-bit input has only 256 distances.

Of int16, or to int16, and of rows that are not short, the exponential is a product of two tables
(`bevel.calib.arithmetic.softmax`). The result has as many bits as it asks for, b: scale 2**-b, and a zero point of
-2**(b - 1).

Shares that are powers of two have an operator of their own (`power_softmax`), where their format asks for them.

With the mask before it (`masks`) it is one operator: elements that are barred have exponentials of 0, and the maximum
is that of the others. Where a row keeps none, all its shares are 0; in float they are NaN, or all the same.
"""

from __future__ import annotations

from math import log2, prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.softmax import Softmax as SoftmaxKernel
from bevel.backends.program.ops.softmax import WideSoftmax as WideSoftmaxKernel
from bevel.calib.arithmetic import softmax as arithmetic
from bevel.calib.arithmetic.requantize import MAX_SHIFT, Output
from bevel.calib.arithmetic.softmax import FACTOR_BITS, RECIPROCAL_BITS
from bevel.passes.operators.base import Activation, Array, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, POWERS, STORE, constants
from bevel.passes.operators.functions.exponentials import (
    EXPONENTIALS,
    MASK,
    factor_of,
    lowered_mask,
    mask_of,
    with_mask,
)
from bevel.passes.operators.functions.masks import Masked, find_masked
from bevel.passes.operators.functions.power_softmax import power_softmax
from bevel.passes.operators.functions.table import rescale
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of, output_attributes, stored_output

SCALE, ZERO_POINT = 1 / 256, -128
LARGEST_EXPONENT = 22
ONE_TABLE = """
  steps = Cast <to = 6> (x)
  largest = ReduceMax (steps, axes)
  distance = Sub (largest, steps)
  e32 = Gather (table, distance)
  e = Cast <to = 7> (e32)
  total = ReduceSum (e, axes)
"""
SHARES = f"""
  units = Constant <value_int = 256> ()
  two = Constant <value_int = 2> ()
  scaled = Mul (e, units)
  half = Div (total, two)
  sum = Add (scaled, half)
  share = Div (sum, total)
  zero_point = Constant <value_int = {ZERO_POINT}> ()
  low = Constant <value_int = -128> ()
  high = Constant <value_int = 127> ()
  placed = Add (share, zero_point)
  clamped = Clip (placed, low, high)
  y = Cast <to = 3> (clamped)
"""
SOFTMAX = Function("Softmax", (), ("x", "table", "axes"), ONE_TABLE + SHARES)

SHORT = 16  # elements of a row: a division each costs less than one of a reciprocal
WHOLE_BITS = 16
WHOLE = Output(-(2**15), -(2**15), 2**15 - 1, "int16")

WIDE_SHARES = f"""
  two = Constant <value_int = 2> ()
  powers = Constant <value = int64[{MAX_SHIFT + 1}] {{{POWERS}}}> ()
  reciprocal_bits = Constant <value_int = {RECIPROCAL_BITS}> ()
  whole = Constant <value_int = {2**RECIPROCAL_BITS}> ()
  most = Constant <value_int = {2**FACTOR_BITS - 1}> ()
  divided = Div (whole, total)
  reciprocal = Min (divided, most)
  scaled = Mul (e, reciprocal)
  share_down = Sub (reciprocal_bits, bits)
  share_unit = Gather (powers, share_down)
  half_share = Div (share_unit, two)
  raised_share = Add (scaled, half_share)
  shifted = Div (raised_share, share_unit)
{STORE}
"""
WIDE_ATTRIBUTES = ("bits", *OUTPUT_ATTRIBUTES)
WIDE_BODY = constants("bits") + EXPONENTIALS + WIDE_SHARES
WIDE_SOFTMAX = Function("WideSoftmax", WIDE_ATTRIBUTES, ("x", "coarse", "fine", "axes"), WIDE_BODY)


MASKED_SOFTMAX = Function("MaskedSoftmax", MASK, ("x", "truths", "table", "axes"), with_mask(ONE_TABLE) + SHARES)
MASKED_WIDE_SOFTMAX = Function(
    "MaskedWideSoftmax",
    (*MASK, *WIDE_ATTRIBUTES),
    ("x", "truths", "coarse", "fine", "axes"),
    constants("bits") + with_mask(EXPONENTIALS) + WIDE_SHARES,
)
OF_SHARES = frozenset(one.name for one in (SOFTMAX, WIDE_SOFTMAX, MASKED_SOFTMAX, MASKED_WIDE_SOFTMAX))


class Softmax(Operator):
    float_ops: ClassVar = frozenset({"Softmax"})
    limits: ClassVar = "any axis"
    functions: ClassVar = (SOFTMAX, WIDE_SOFTMAX)
    wide_codes: ClassVar = True
    powers: ClassVar = True

    def fixed_output(self, match: Match) -> tuple[float, int] | None:
        return SCALE, ZERO_POINT

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        axis = int(site.node.attrs.get("axis", -1)) % len(site.shape)
        if site.steps is not None:
            return power_softmax(site, x, axis)
        short = site.shape[axis] <= SHORT and not site.wide
        return of_one_table(site, x, axis) if short else of_two_tables(site, x, axis)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        given, (axis,) = node.inputs[1:-1], lowering.constant(node.inputs[-1])
        source, order = lowering.rows(x, int(axis))
        inputs, mask = [source], None
        constants: list[Array] = []
        if node.op in (MASKED_SOFTMAX.name, MASKED_WIDE_SOFTMAX.name):
            mask, coming, constants = lowered_mask(node, lowering, int(axis), order)
            inputs, given = [source, *coming], given[1:]
        n, tables = x.shape[int(axis)], [lowering.constant(tensor) for tensor in given]
        rows = prod(x.shape) // n
        kernel: SoftmaxKernel | WideSoftmaxKernel
        if len(tables) == 1:
            kernel = SoftmaxKernel(rows=rows, n=n, output=Output(ZERO_POINT), mask=mask)
        else:
            kernel = WideSoftmaxKernel(
                rows, n, len(tables[0]), node.attrs["bits"], stored_output(node), dtype_of(x), mask
            )
        lowering.emit(node, kernel, inputs, [*constants, *tables], y, order)


class MaskedSoftmax(Softmax):
    """As Softmax, of a mask and the Softmax behind it."""

    float_ops: ClassVar[frozenset[str]] = frozenset()  # the last of two nodes
    functions: ClassVar = (MASKED_SOFTMAX, MASKED_WIDE_SOFTMAX)

    def match(self, node: gs.Node) -> Match | Reason | None:
        found = find_masked(node) if node.op == "Softmax" else None
        if not isinstance(found, Masked):
            return None
        computed = () if isinstance(found.keep, np.ndarray) else (found.keep,)
        return Match(node, (found.scores,), computed)

    def covers(self, match: Match) -> tuple[gs.Node, ...]:
        found = find_masked(match.node)
        return found.nodes if isinstance(found, Masked) else ()


def of_one_table(site: Site, x: Activation, axis: int) -> list[gs.Node] | Reason:
    k = exponent_bits(site.shape[axis])
    if k < 8:
        return Reason(f"its {site.shape[axis]} classes leave the exponentials fewer than 8 bits")
    table = np.rint(np.exp(-x.scale * factor_of(site) * np.arange(256)) * 2**k).astype(np.int32)
    mask, attrs = mask_of(site, x)
    inputs = [x.tensor, *mask, site.constant("table", table), site.constant("axes", np.array([axis], np.int64))]
    function = MASKED_SOFTMAX if mask else SOFTMAX
    if (site.scale, site.result.zero_point) == (SCALE, ZERO_POINT):
        return site.call(function, inputs, attrs)
    return rescaled(site, function, inputs, attrs, SCALE, Output(ZERO_POINT))


def of_two_tables(site: Site, x: Activation, axis: int) -> list[gs.Node] | Reason:
    coarse, fine = arithmetic.tables(x.scale * factor_of(site), x.high - x.low + 1)
    mask, attrs = mask_of(site, x)
    inputs = [
        x.tensor,
        *mask,
        site.constant("coarse", coarse),
        site.constant("fine", fine),
        site.constant("axes", np.array([axis], np.int64)),
    ]
    bits, function = bits_of(site), MASKED_WIDE_SOFTMAX if mask else WIDE_SOFTMAX
    if bits is not None:
        return site.call(function, inputs, attrs | {"bits": bits} | output_attributes(site.result))
    attrs |= {"bits": WHOLE_BITS} | output_attributes(WHOLE)
    return rescaled(site, function, inputs, attrs, 2.0**-WHOLE_BITS, WHOLE)


def rescaled(
    site: Site, function: Function, inputs: list[gs.Tensor], attrs: dict[str, int], scale: float, result: Output
) -> list[gs.Node] | Reason:
    """A call that makes shares of `scale` and `result`, and what brings them to those of the site."""
    shares = gs.Variable(f"{site.name}/shares", np.dtype(result.dtype), list(site.shape))
    given = Activation(shares, scale, result.zero_point, result.low, result.high)
    then = rescale(f"{site.name}/rescale", given, site.output, site.scale, site.result)
    return then if isinstance(then, Reason) else [function.call(site.name, inputs, attrs, shares), *then]


def exponent_bits(n: int) -> int:
    """The largest k with n * 2**k < 2**31 and 256 * 2**k + n * 2**k / 2 < 2**32."""
    return min(LARGEST_EXPONENT, 30 - (n - 1).bit_length())


def bits_of(site: Site) -> int | None:
    """b where the result has scale 2**-b and zero point -2**(b - 1); None otherwise."""
    bits = round(-log2(site.scale))
    fixed = (2.0**-bits, -(2.0 ** (bits - 1)))
    return bits if 1 <= bits <= WHOLE_BITS and (site.scale, site.result.zero_point) == fixed else None
