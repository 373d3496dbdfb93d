"""Layer-, Instance-, Group- and RMS normalization, and LpNormalization of 2: rows less their mean over their deviation.

    y = clamp(zy + (((t * A >> 32) + B) >> (n - 32))),    A = round(2**n * f * gain / (sy * 2**fraction))
                                                          B = round(2**(n - 32) * bias / sy + half)

t is `bevel.calib.arithmetic.normalize`'s of the integers, whose scale cancels; f is 1, for a mean of squares
sqrt(elements). Gain and bias are as exact as A and B: they are not quantized before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isqrt, prod
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.normalize import Loop
from bevel.backends.program.ops.normalize import Normalize as NormalizeKernel
from bevel.backends.program.shapes import broadcast_strides
from bevel.calib.arithmetic.normalize import INVERSE_BITS, MOST_FRACTION, SUM_LIMIT, WORD_BITS, fraction_bits
from bevel.passes.operators.base import (
    Activation,
    Array,
    Function,
    Match,
    Operator,
    Reason,
    Site,
    Weight,
)
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, POWERS, STORE, constants, floored
from bevel.passes.operators.lowering import Lowering, Value, merged
from bevel.passes.operators.norms.root_body import ROOT
from bevel.passes.operators.widths import dtype_of, output_attributes, stored_output

LARGEST_SHIFT, FACTOR_LIMIT, RESULT_LIMIT = 60, 2**31 - 1, 2**61
NUMBERS = ("x_zero_point", "count", "center", "epsilon", "raised", "shift")
BODY = f"""
{constants(*NUMBERS)}
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  powers = Constant <value = int64[{POWERS.count(",") + 1}] {{{POWERS}}}> ()
  x64 = Cast <to = 7> (x)
  rows = Reshape (x64, split)
  steps = Sub (rows, x_zero_point)
  total = ReduceSum (steps, axes)
  mean_share = Mul (total, center)
  counted = Mul (steps, count)
  centred = Sub (counted, mean_share)
  squares = Mul (steps, steps)
  sum_of_squares = ReduceSum (squares, axes)
  counted_squares = Mul (sum_of_squares, count)
  squared_sum = Mul (total, mean_share)
  spread = Sub (counted_squares, squared_sum)
  under_root = Add (spread, epsilon)
  is_zero = Equal (under_root, zero)
  positive = Where (is_zero, one, under_root)
{ROOT}
  ones = Constant <value_int = {2**INVERSE_BITS}> ()
  inverse = Div (ones, root0)
  left = Add (places, raised)
  to_left = Max (left, zero)
  right = Neg (left)
  to_right = Max (right, zero)
  left_by = Gather (powers, to_left)
  far_left = Mul (centred, left_by)
{floored("far_left", "to_right", "raised_steps", "raising")}
  product = Mul (raised_steps, inverse)
  half_word = Constant <value_int = {2**WORD_BITS // 2}> ()
  rounded = Add (product, half_word)
  word_bits = Constant <value_int = {WORD_BITS}> ()
{floored("rounded", "word_bits", "t", "row")}
  factor64 = Cast <to = 7> (factor)
  scaled = Mul (t, factor64)
{floored("scaled", "word_bits", "upper", "scaled_row")}
  offset64 = Cast <to = 7> (offset)
  sum = Add (upper, offset64)
{floored("sum", "shift", "in_rows", "result")}
  shifted = Reshape (in_rows, whole)
{STORE}
"""
INPUTS = ("x", "split", "axes", "factor", "offset", "whole")
NORMALIZE = Function("Normalize", (*NUMBERS, *OUTPUT_ATTRIBUTES), INPUTS, BODY)


@dataclass(frozen=True)
class RowForm:
    """x seen as `split`, in which rows run along `axes`; gain and bias broadcast to it. epsilon: of real squares."""

    split: tuple[int, ...]
    axes: tuple[int, ...]
    center: bool
    gain: Array
    bias: Array
    epsilon: float

    @property
    def n(self) -> int:
        return prod(self.split[axis] for axis in self.axes)


class Normalize(Operator):
    float_ops: ClassVar = frozenset(
        ["GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization", "RMSNormalization"]
    )
    limits: ClassVar = "constant scale and bias; LpNormalization of p = 2"
    functions: ClassVar = (NORMALIZE,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        if node.op == "LpNormalization" and int(node.attrs.get("p", 2)) != 2:
            return Reason("it divides by a sum of magnitudes; only p = 2 has an integer kernel")
        if len(node.outputs) > 1:
            return Reason("its further outputs have no integer kernel")
        return Match(node, tuple(one for one in node.inputs if isinstance(one, gs.Variable) and not one.is_empty()))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, parameters = site.inputs[0], parameters_of(site)
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if isinstance(parameters, Reason):
            return parameters
        return normalized(site, x, form_of(site.node, tuple(x.tensor.shape), *parameters))

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        split, axes, factor, offset = (lowering.constant(tensor) for tensor in node.inputs[1:5])
        loops = loops_of(value, tuple(map(int, split)), factor.shape)
        kernel = NormalizeKernel(
            rows=nest(loop for axis, loop in enumerate(loops) if axis not in axes),
            columns=nest(loop for axis, loop in enumerate(loops) if axis in axes),
            gains=factor.size,
            center=bool(node.attrs["center"]),
            zero_point=node.attrs["x_zero_point"],
            epsilon=node.attrs["epsilon"],
            shift=node.attrs["shift"] + WORD_BITS,
            output=stored_output(node),
            x_dtype=dtype_of(node.inputs[0]),
        )
        lowering.emit(node, kernel, [value.buffer], (factor.ravel(), offset.ravel()), node.outputs[0], value.order)


def normalized(site: Site, x: Activation, form: RowForm) -> list[gs.Node] | Reason:
    """The integers of a site that normalizes x as `form` says."""
    elements = form.n**2 if form.center else form.n
    epsilon = round(min(elements * form.epsilon / x.scale**2, 2.0**62))
    if 2 * form.n * x.reach >= SUM_LIMIT or epsilon >= SUM_LIMIT**2 // 2:
        return Reason(f"the squares of its {form.n} elements, or their epsilon, do not fit int64")
    found = rescaled(form, site.scale)
    if isinstance(found, Reason):
        return found
    factor, offset, shift = found
    attrs = {
        "x_zero_point": x.zero_point,
        "count": form.n if form.center else 1,
        "center": int(form.center),
        "epsilon": epsilon,
        "raised": fraction_bits(form.n) - MOST_FRACTION,
        "shift": shift - WORD_BITS,
    }
    inputs = [
        x.tensor,
        site.constant("split", np.array(form.split, np.int64)),
        site.constant("axes", np.array(form.axes, np.int64)),
        site.constant("factor", factor),
        site.constant("offset", offset),
        site.constant("whole", np.array(site.shape, np.int64)),
    ]
    return site.call(NORMALIZE, inputs, attrs | output_attributes(site.result))


def parameters_of(site: Site) -> list[Array] | Reason:
    """Scale and bias in float64, as far as the node has them."""
    found: list[Array] = []
    stored = iter(site.inputs[1:])
    for tensor in site.node.inputs[1:]:
        if tensor.is_empty():
            continue
        one = np.asarray(tensor.values) if isinstance(tensor, gs.Constant) else next(stored)
        if isinstance(one, Activation):
            return Reason("its scale or its bias is computed")
        found.append((one.reals if isinstance(one, Weight) else one).astype(np.float64))
    return found


def form_of(node: gs.Node, shape: tuple[int, ...], gain: Array | None = None, bias: Array | None = None) -> RowForm:
    """What a node normalizes."""
    rank, epsilon = len(shape), float(node.attrs.get("epsilon", 1e-5))
    gain, bias = np.ones(1) if gain is None else gain, np.zeros(1) if bias is None else bias
    last = int(node.attrs.get("axis", -1)) % rank
    match node.op:
        case "LpNormalization":
            return RowForm(shape, (last,), False, gain, bias, 0.0)
        case "LayerNormalization":
            return RowForm(shape, tuple(range(last, rank)), True, gain, bias, epsilon)
        case "RMSNormalization":
            n = prod(shape[last:])
            return RowForm(shape, tuple(range(last, rank)), False, gain * np.sqrt(n), bias, epsilon)
        case "InstanceNormalization":
            per_channel = (-1, *[1] * (rank - 2))
            return RowForm(
                shape, tuple(range(2, rank)), True, gain.reshape(per_channel), bias.reshape(per_channel), epsilon
            )
    groups = int(node.attrs["num_groups"])
    split = (shape[0], groups, shape[1] // groups, *shape[2:])
    in_groups = (groups, split[2], *[1] * (rank - 2))
    return RowForm(split, tuple(range(2, rank + 1)), True, gain.reshape(in_groups), bias.reshape(in_groups), epsilon)


def rescaled(form: RowForm, scale: float) -> tuple[Array, Array, int] | Reason:
    """Factors and offsets of one shape, and the largest shift for which they fit."""
    fraction = fraction_bits(form.n)
    gain, bias = np.broadcast_arrays(form.gain / (scale * 2.0**fraction), form.bias / scale)
    largest = (isqrt(form.n) + 1) << fraction
    steepest, furthest = float(np.abs(gain).max()), float(np.abs(bias).max())
    fitting = [
        shift
        for shift in range(WORD_BITS + 1, LARGEST_SHIFT + 1)
        if steepest * 2.0**shift < FACTOR_LIMIT and (largest * steepest + furthest + 1) * 2.0**shift < RESULT_LIMIT
    ]
    if not fitting:
        return Reason(f"its scale is {steepest * 2.0**fraction:.3g} steps of its result")
    shift = max(fitting)
    offset = np.rint(bias * 2.0 ** (shift - WORD_BITS)).astype(np.int32) + (1 << (shift - WORD_BITS - 1))
    return np.rint(gain * 2.0**shift).astype(np.int32), offset, shift


def loops_of(value: Value, split: tuple[int, ...], gains: tuple[int, ...]) -> list[Loop]:
    """A loop over each axis of `split`, into which each axis of the value is divided, as it lies in memory."""
    strides = {axis: prod(value.stored[place + 1 :]) for place, axis in enumerate(value.order)}
    factors = iter(zip(split, broadcast_strides(split, gains), strict=True))
    loops: list[Loop] = []
    for axis, size in enumerate(value.shape):
        parts = [next(factors)]
        while prod(part for part, _ in parts) != size:
            parts.append(next(factors))
        inside = size
        for part, gain in parts:
            inside //= part
            loops.append(Loop(part, strides[axis] * inside, gain))
    return loops


def nest(loops: Iterable[Loop]) -> tuple[Loop, ...]:
    """The loops from the widest stride to the narrowest, neighbours that are one taken together."""
    ordered = sorted(loops, key=lambda one: -one.stride)
    found = merged((one.extent, (one.stride, one.gain)) for one in ordered)
    return tuple(Loop(extent, *strides) for extent, strides in found)
