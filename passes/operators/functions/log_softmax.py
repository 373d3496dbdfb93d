"""Integer-only LogSoftmax of any axis: one logarithm of a sum a row (`bevel.calib.arithmetic.log_softmax`).

    y = clamp(zy + ((half - d * A - L * B) >> n)),    A = round(2**n * sx / sy),  B = round(2**n / (sy * 2**24))

n is the largest shift for which the sum fits int64 and B int32.
"""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.log_softmax import LogSoftmax as LogSoftmaxKernel
from bevel.calib.arithmetic.log_softmax import FRACTION_BITS, LOG_BITS, LOG_OF_TWO, LOGARITHMS, SUM_BITS, THRESHOLDS
from bevel.calib.arithmetic.requantize import MAX_SHIFT
from bevel.calib.arithmetic.softmax import ENTRY_BITS, LONGEST, tables
from bevel.passes.operators.base import Activation, Function, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, POWERS, STORE, constants, floored
from bevel.passes.operators.functions.exponentials import EXPONENTIALS
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of, output_attributes, stored_output

NUMBERS = ("a", "b", "half", "shift")
SUM_LIMIT = 2**60
LARGEST_SHIFT = 60
BODY = f"""
{constants(*NUMBERS)}
{EXPONENTIALS}
  one = Constant <value_int = 1> ()
  thresholds = Constant <value = int64[{len(THRESHOLDS)}] {{{", ".join(map(str, THRESHOLDS))}}}> ()
  powers = Constant <value = int64[{MAX_SHIFT + 1}] {{{POWERS}}}> ()
  last = Constant <value = int64[1] {{-1}}> ()
  beside = Unsqueeze (total, last)
  below = Less (beside, thresholds)
  below64 = Cast <to = 7> (below)
  places = ReduceSum <keepdims = 0> (below64, last)
  factor = Gather (powers, places)
  leading = Mul (total, factor)
  top = Constant <value_int = {2 ** (SUM_BITS - 1)}> ()
  mantissa = Sub (leading, top)
  fraction_unit = Constant <value_int = {2**FRACTION_BITS}> ()
  index = Div (mantissa, fraction_unit)
  fraction = Mod (mantissa, fraction_unit)
  next_index = Add (index, one)
  here32 = Gather (logarithms, index)
  next32 = Gather (logarithms, next_index)
  here = Cast <to = 7> (here32)
  next = Cast <to = 7> (next32)
  rise = Sub (next, here)
  risen = Mul (rise, fraction)
  between = Div (risen, fraction_unit)
  most_places = Constant <value_int = {SUM_BITS - 1 - ENTRY_BITS}> ()
  twos = Sub (most_places, places)
  log_of_two = Constant <value_int = {LOG_OF_TWO}> ()
  of_twos = Mul (twos, log_of_two)
  of_table = Add (here, between)
  logarithm = Add (of_twos, of_table)
  of_sum = Mul (logarithm, b)
  of_code = Mul (distance, a)
  less = Add (of_sum, of_code)
  sum = Sub (half, less)
{floored("sum", "shift", "shifted", "result")}
{STORE}
"""
INPUTS = ("x", "coarse", "fine", "logarithms", "axes")
LOG_SOFTMAX = Function("LogSoftmax", (*NUMBERS, *OUTPUT_ATTRIBUTES), INPUTS, BODY)


class LogSoftmax(Operator):
    float_ops: ClassVar = frozenset({"LogSoftmax"})
    limits: ClassVar = "any axis"
    functions: ClassVar = (LOG_SOFTMAX,)
    wide_codes: ClassVar = True

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        axis = int(site.node.attrs.get("axis", -1)) % len(site.shape)
        if site.shape[axis] > LONGEST:
            return Reason(f"the exponentials of its {site.shape[axis]} classes may not fit a sum")
        distances = x.high - x.low + 1
        rates = (x.scale / site.scale, 1 / (site.scale * 2.0**LOG_BITS))
        shift = largest_shift(rates, distances)
        if shift is None:
            return Reason(f"a step of its input is {rates[0]:.3g} steps of its result")
        coarse, fine = tables(x.scale, distances)
        attrs = {
            "a": round(rates[0] * 2**shift),
            "b": round(rates[1] * 2**shift),
            "half": 2**shift // 2,
            "shift": shift,
        }
        inputs = [
            x.tensor,
            site.constant("coarse", coarse),
            site.constant("fine", fine),
            site.constant("logarithms", LOGARITHMS),
            site.constant("axes", np.array([axis], np.int64)),
        ]
        return site.call(LOG_SOFTMAX, inputs, attrs | output_attributes(site.result))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, y = node.inputs[0], node.outputs[0]
        coarse, fine, logarithms, (axis,) = (lowering.constant(tensor) for tensor in node.inputs[1:])
        source, order = lowering.rows(x, int(axis))
        n = x.shape[int(axis)]
        kernel = LogSoftmaxKernel(
            rows=prod(x.shape) // n,
            n=n,
            coarse=len(coarse),
            a=node.attrs["a"],
            b=node.attrs["b"],
            offset=node.attrs["half"],
            shift=node.attrs["shift"],
            output=stored_output(node),
            x_dtype=dtype_of(x),
        )
        lowering.emit(node, kernel, [source], (coarse, fine, logarithms), y, order)


def largest_shift(rates: tuple[float, float], distances: int) -> int | None:
    """The largest shift at which both parts of a sum stay below 2**60, and the logarithm's factor below 2**31."""
    fitting = [
        shift
        for shift in range(1, LARGEST_SHIFT + 1)
        if rates[0] * distances * 2.0**shift < SUM_LIMIT and rates[1] * 2.0**shift < 2**31 - 1
    ]
    return max(fitting, default=None)
