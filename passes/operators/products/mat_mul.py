"""MatMul of two activations, batched and broadcast as ONNX does: y = requantize(sum((a - za) * (b - zb))).

Products of codes less their zero points are summed in int32, or in int64 where the largest sum there may be passes
2**31. How large one may be is known from more than the types: shares of a row sum to 1, however many they are, and the
codes of a tensor are those that its maker clamps them to. MatMulInteger takes 8-bit tensors only; the function is one
for every width, by onnxruntime's MatMul of int32 or int64.

A factor behind the product, as attention has one, is part of the ratio: nothing between is rounded.

    c * sum((a - za) * (b - zb))  ==  requantize by c * sa * sb / sy

Shares that are powers of two come as codes c of four bits (`bevel.calib.arithmetic.power_softmax`); what is summed is
b - zb shifted to the left by 14 - c, and nothing else is multiplied:

    sum(2**-c * (b - zb))  ==  sum((b - zb) << (14 - c)) * 2**-14

Either matrix is read as it lies, transposed or with its heads side by side, and the result is written as the Transpose
behind it wants it: none of them costs a copy.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.mat_mul import INT32_LIMIT
from bevel.backends.program.ops.mat_mul import MatMul as MatMulKernel
from bevel.backends.program.ops.shift_mat_mul import ShiftMatMul as ShiftMatMulKernel
from bevel.calib.arithmetic.power_softmax import LEAST, NONE, steps_of
from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import Parameters, constant_source, is_dequantize, is_quantize, parameters
from bevel.passes.operators.base import DOMAIN, Activation, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants
from bevel.passes.operators.formats.round_even import by_exact_sums
from bevel.passes.operators.functions.clip import WIDE_CLIP, bounds
from bevel.passes.operators.functions.power_softmax import exponents_of
from bevel.passes.operators.functions.softmax import OF_SHARES, ZERO_POINT
from bevel.passes.operators.lowering import Lowering, Order, Strides, Value, merged, onnx_order
from bevel.passes.operators.sums.elementwise import operands, taken
from bevel.passes.operators.views import Axis, View, aligned
from bevel.passes.operators.widths import dtype_of, element_type, output_attributes, rescaling, stored_output

MOVES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Tile", "Expand", "Identity"})

NUMBERS = ("a_zero_point", "b_zero_point", "multiplier", "shift")
BODY = f"""
{constants(*NUMBERS)}
  a_zero = Cast <to: int = @sum_type> (a_zero_point)
  b_zero = Cast <to: int = @sum_type> (b_zero_point)
  wide_a = Cast <to: int = @sum_type> (a)
  wide_b = Cast <to: int = @sum_type> (b)
  centered_a = Sub (wide_a, a_zero)
  centered_b = Sub (wide_b, b_zero)
  accumulator = MatMul (centered_a, centered_b)
{REQUANTIZE}
"""
ATTRIBUTES = (*NUMBERS, "sum_type", "largest", *OUTPUT_ATTRIBUTES)
MAT_MUL = Function("MatMul", ATTRIBUTES, ("a", "b"), BODY)
SHARES = ", ".join(map(str, steps_of(np.arange(NONE + 1))))
SHIFTED = f"""
  shares = Constant <value = int32[{NONE + 1}] {{{SHARES}}}> ()
  places = Cast <to = 6> (a)
  steps = Gather (shares, places)
  wide_a = Cast <to: int = @sum_type> (steps)
"""
WIDE_A = "  wide_a = Cast <to: int = @sum_type> (a)\n"
SHIFT_MAT_MUL = Function("ShiftMatMul", ATTRIBUTES, ("a", "b"), BODY.replace(WIDE_A, SHIFTED))


class MatMul(Operator):
    float_ops: ClassVar = frozenset({"MatMul"})
    functions: ClassVar = (MAT_MUL, SHIFT_MAT_MUL)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        product = scaled_product(node)
        if node.op == "MatMul":
            return Match(node, tuple(node.inputs))
        return None if product is None else Match(node, tuple(product.inputs))

    def covers(self, match: Match) -> tuple[gs.Node, ...]:
        product = scaled_product(match.node)
        return () if product is None else (product,)

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        found = operands(site)
        if isinstance(found, Reason):
            return found
        product_node = scaled_product(site.node) or site.node
        a, b = map(within_clamps, found, product_node.inputs)
        reach, scale = largest_sum(a, b), a.scale * b.scale * factor_of(site.node)
        exact = by_exact_sums(site, scale, reach, lambda sums: product(sums, a, b, 1.0, reach))
        return product(site, a, b, scale / site.scale, reach) if exact is None else exact

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        (a, b), y, shifts = node.inputs, node.outputs[0], node.op == SHIFT_MAT_MUL.name
        order = order_wanted(y)
        left, right = lowering.view(a), lowering.view(b)
        result = as_result(Value("", tuple(y.shape), order).view, len(left.axes), len(right.axes))
        matrices = (as_rows(left), as_columns(right), result)
        extents, strides = batches(tuple(one[:-2] for one in matrices))
        (m, k), (_, n) = (tuple(map(size_of, one[-2:])) for one in matrices[:2])
        a_strides, b_strides, y_strides = (
            (*lead, *map(stride_of, one[-2:])) for lead, one in zip(strides, matrices, strict=True)
        )
        kernel = MatMulKernel(
            extents,
            m,
            k,
            n,
            a_strides,
            b_strides,
            y_strides,
            **taken(node, NUMBERS),
            output=stored_output(node),
            a_dtype="int16" if shifts else dtype_of(a),
            b_dtype=dtype_of(b),
        )
        if int(node.attrs["largest"]) < kernel.reach:
            kernel = replace(kernel, largest=int(node.attrs["largest"]))
        made = ShiftMatMulKernel(kernel) if shifts else kernel
        lowering.emit(node, made, [left.buffer, right.buffer], (), y, order)


def product(site: Site, a: Activation, b: Activation, ratio: float, reach: int) -> list[gs.Node] | Reason:
    found = rescaling(np.array(ratio), reach)
    if isinstance(found, Reason):
        return found
    numbers = (a.zero_point, b.zero_point, *map(int, found))
    attrs = dict(zip(NUMBERS, numbers, strict=True)) | output_attributes(site.result)
    attrs |= {"sum_type": element_type("int32" if reach < INT32_LIMIT else "int64"), "largest": reach}
    powers = exponents_of(a.tensor)
    if powers is not None:
        return site.call(SHIFT_MAT_MUL, [powers.outputs[0], b.tensor], attrs)
    return site.call(MAT_MUL, [a.tensor, b.tensor], attrs)


def largest_sum(a: Activation, b: Activation) -> int:
    """What no |partial sum| of the product passes."""
    bounds = [int(a.tensor.shape[-1]) * a.reach * b.reach]
    for shares, values, axis in ((a, b, -1), (b, a, -2)):
        total = total_of_shares(shares.tensor, axis)
        bounds += [] if total is None else [total * values.reach]
    return min(bounds)


def total_of_shares(tensor: gs.Tensor, axis: int) -> int | None:
    """What the shares along an axis sum to at most, each rounded by a half, where a Softmax along it makes them; powers
    of two are a third larger than what they stand for at most, and the least by half a step more."""
    powers, rank = exponents_of(tensor), len(tensor.shape)
    node = producer(tensor) if powers is None else powers
    if node is None or node.domain != DOMAIN or rank < -axis or (powers is None and node.op not in OF_SHARES):
        return None
    if int(np.ravel(node.inputs[-1].values)[0]) % rank != axis % rank:
        return None
    if powers is not None:
        return (4 << LEAST) // 3 + 1 + int(tensor.shape[axis])
    zero_point, low = (int(node.attrs.get(name, ZERO_POINT)) for name in ("zero_point", "low"))
    n = int(tensor.shape[axis])
    return (1 << int(node.attrs.get("bits", 8))) + n * (1 + max(0, low - zero_point))


def within_clamps(x: Activation, tensor: gs.Tensor) -> Activation:
    """`x`, the integers of `tensor`, with the bounds that its codes are clamped to before what only moves them."""
    node = producer(tensor)
    first = None if node is None or not is_dequantize(node) else parameters(node)
    found = clamps_of(tensor, first)
    return x if found is None else replace(x, low=max(x.low, found[0]), high=min(x.high, found[1]))


def clamps_of(tensor: gs.Tensor, coded: Parameters | None) -> tuple[int, int] | None:
    """What all that is moved into `tensor` is clamped to, as long as it has those parameters; None where not known."""
    node = producer(tensor)
    if node is None:
        return None
    if node.domain:
        return bounds(node) if node.op == WIDE_CLIP.name else None
    if node.op == "Concat":
        parts = [clamps_of(one, coded) for one in node.inputs]
        known = [one for one in parts if one is not None]
        both = min((low for low, _ in known), default=0), max((high for _, high in known), default=0)
        return both if len(known) == len(parts) else None
    return clamps_of(node.inputs[0], coded) if node.op in MOVES or same_parameters(node, coded) else None


def same_parameters(node: gs.Node, wanted: Parameters | None) -> bool:
    """Whether it is a quantizer or dequantizer of those parameters."""
    found = parameters(node) if is_quantize(node) or is_dequantize(node) else None
    if found is None or wanted is None:
        return False
    return np.array_equal(found.scale, wanted.scale) and np.array_equal(found.zero_point, wanted.zero_point)


def scaled_product(node: gs.Node) -> gs.Node | None:
    """The MatMul of two activations that `node`, a Mul by a positive number, scales, where nothing else reads it."""
    if node.op != "Mul":
        return None
    for place in (0, 1):
        source, factor = producer(node.inputs[1 - place]), scalar(node.inputs[place])
        if source is None or source.op != "MatMul" or factor is None or factor <= 0:
            continue
        alone = len(source.outputs[0].outputs) == 1 and list(source.outputs[0].shape) == list(node.outputs[0].shape)
        if alone and all(constant_source(tensor) is None for tensor in source.inputs):
            return source
    return None


def scalar(tensor: gs.Tensor) -> float | None:
    values = tensor.values if isinstance(tensor, gs.Constant) else None
    return float(np.asarray(values).reshape(())) if values is not None and np.size(values) == 1 else None


def factor_of(node: gs.Node) -> float:
    """What the product is multiplied by."""
    found = [scalar(tensor) for tensor in node.inputs] if node.op == "Mul" else []
    return next((one for one in found if one is not None), 1.0)


def order_wanted(y: gs.Tensor) -> Order:
    """The order in which the Transpose that alone reads `y` finds its result in place, else ONNX's."""
    readers = y.outputs
    if len(readers) == 1 and readers[0].op == "Transpose" and not readers[0].domain:
        rank = len(y.shape)
        return tuple(int(axis) for axis in readers[0].attrs.get("perm", range(rank)[::-1]))
    return onnx_order(len(y.shape))


def size_of(axis: Axis) -> int:
    return axis[0][0] if axis else 1


def stride_of(axis: Axis) -> int:
    """Of an axis of one factor; one of one element has none."""
    return axis[0][1] if axis else 0


def as_rows(view: View) -> tuple[Axis, ...]:
    """[..., m, k]; a vector is one row."""
    return view.axes if len(view.axes) > 1 else ((), *view.axes)


def as_columns(view: View) -> tuple[Axis, ...]:
    """[..., k, n]; a vector is one column."""
    return view.axes if len(view.axes) > 1 else (*view.axes, ())


def as_result(view: View, a_rank: int, b_rank: int) -> tuple[Axis, ...]:
    """[..., m, n], with the axes that vectors do not leave."""
    found = (*view.axes, ()) if b_rank == 1 else view.axes
    return found if a_rank > 1 else (*found[:-1], (), found[-1])


def batches(operands: tuple[tuple[Axis, ...], ...]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The fewest loops over a batch in which every operand has one stride a loop: (extents, strides per operand)."""
    rank = max(map(len, operands))
    padded = [((),) * (rank - len(one)) + one for one in operands]
    found = list[tuple[int, Strides]]()
    for axis in zip(*padded, strict=True):
        loops_of_axis = aligned(axis)
        assert loops_of_axis is not None, "one factor at most is repeated (`views.is_read_in_place`)"
        found += loops_of_axis
    loops = merged(found)
    return tuple(extent for extent, _ in loops), [
        tuple(one[which] for _, one in loops) for which in range(len(operands))
    ]
