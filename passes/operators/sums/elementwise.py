"""What operators on two tensors share: two operands, broadcast, in one layout, and weights that bring them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.op import Op
from bevel.passes.operators.base import Activation, Array, Reason, Site, Weight
from bevel.passes.operators.bodies import constants
from bevel.passes.operators.lowering import Lowering, Order, Value
from bevel.passes.operators.widths import dtype_of

Shape = tuple[int, ...]

INT8_SUM_LIMIT, SUM_LIMIT = 2**30, 2**61
MULTIPLIER_LIMIT = 2**31
LARGEST_SHIFT = 60
LARGEST_CONSTANT = 2**15 - 1

# `a`, `b` -> int64 `a_sum`, `b_sum`, each with a rounding half: what `weighted_apart` gives
WEIGHTS = ("a_multiplier", "b_multiplier", "a_offset", "b_offset", "shift")
WEIGHTED_APART = f"""
{constants(*WEIGHTS)}
  a64 = Cast <to = 7> (a)
  b64 = Cast <to = 7> (b)
  a_share = Mul (a64, a_multiplier)
  b_share = Mul (b64, b_multiplier)
  a_sum = Add (a_share, a_offset)
  b_sum = Add (b_share, b_offset)
"""


def operands(site: Site) -> tuple[Activation, Activation] | Reason:
    """Both inputs as integers, or the reason why one of them has none."""
    a, b = (operand(site, index) for index in (0, 1))
    if isinstance(a, Reason):
        return a
    return b if isinstance(b, Reason) else (a, b)


def operand(site: Site, index: int) -> Activation | Reason:
    """Input `index` as int8, or of any width where the site is wider."""
    return wide_operand(site, index) if site.wide else int8_operand(site, index)


def int8_operand(site: Site, index: int) -> Activation | Reason:
    """Input `index` as an int8 tensor. Constants are quantized here: symmetric, to their own largest magnitude."""
    match site.inputs[index]:
        case Activation() as activation:
            return activation
        case Weight(codes, scale, _) if scale.ndim == 0 and codes.max() - codes.min() <= 255:
            # Any zero point that brings the codes into int8 will do; the one nearest to 0 is itself an int8.
            zero_point = int(np.clip(0, -128 - codes.min(), 127 - codes.max()))
            stored = site.constant(f"operand{index}", (codes + zero_point).astype(np.int8))
            return Activation(stored, float(scale), zero_point)
        case Weight():
            return Reason(f"its constant operand {index} has a scale for each channel, or more than 8 bits")
        case values:
            largest = float(np.abs(values).max(initial=0.0))
            step = np.float32(largest / 127 if largest else 1.0)
            codes = np.clip(np.rint(values / step), -127, 127).astype(np.int8)
            return Activation(site.constant(f"operand{index}", codes), float(step), 0)


def wide_operand(site: Site, index: int) -> Activation | Reason:
    """Input `index` as integers of any width. Constants without a scale get 16 bits, symmetric."""
    match site.inputs[index]:
        case Activation() as activation:
            return activation
        case Weight(codes, scale, _) if scale.ndim == 0:
            return constant_operand(site, index, codes, float(scale))
        case Weight():
            return Reason(f"its constant operand {index} has a scale for each channel")
        case values:
            largest = float(np.abs(values).max(initial=0.0))
            step = float(np.float32(largest / LARGEST_CONSTANT if largest else 1.0))
            return constant_operand(site, index, np.rint(values / step).astype(np.int64), step)


def constant_operand(site: Site, index: int, codes: Array, scale: float) -> Activation:
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    dtype = next(one for one in ("int8", "int16", "int32") if np.iinfo(one).min <= low and high <= np.iinfo(one).max)
    return Activation(site.constant(f"operand{index}", codes.astype(dtype)), scale, 0, low, high)


def common_shift(site: Site, ratios: tuple[float, float], reaches: tuple[int, int]) -> int | None:
    """The largest n at which both round(2**n * ratio) fit int32, and the sum of operands so weighted, with its rounding
    half, int32 where all is int8, else int64."""
    if site.wide:
        reach, limit = 2 * sum(abs(ratio) * reach for ratio, reach in zip(ratios, reaches, strict=True)) + 2, SUM_LIMIT
    else:
        reach, limit = 255 * (abs(ratios[0]) + abs(ratios[1])) + 257, INT8_SUM_LIMIT
    coarser = max(map(abs, ratios))
    shifts = range(LARGEST_SHIFT + 1)
    return max((n for n in shifts if coarser * 2**n < MULTIPLIER_LIMIT and reach * 2**n < limit), default=None)


def apart(ratios: tuple[float, float]) -> Reason:
    return Reason(f"its operands are {max(map(abs, ratios)):.3g} times coarser than its result")


def weighted_apart(site: Site) -> tuple[list[gs.Tensor], dict[str, int]] | Reason:
    """Both operands, and what brings each, with a rounding half of its own, to the result's scale."""
    found = operands(site)
    if isinstance(found, Reason):
        return found
    a, b = found
    ratios = (a.scale / site.scale, b.scale / site.scale)
    shift = common_shift(site, ratios, (a.reach, b.reach))
    if shift is None:
        return apart(ratios)
    first, second = (round(ratio * 2**shift) for ratio in ratios)
    offsets = (2**shift // 2 - a.zero_point * first, 2**shift // 2 - b.zero_point * second)
    return [a.tensor, b.tensor], dict(zip(WEIGHTS, (first, second, *offsets, shift), strict=True))


def taken(node: gs.Node, names: Sequence[str]) -> dict[str, Any]:
    """Attributes that a kernel has under the same names."""
    return {name: node.attrs[name] for name in names}


def dtypes(a: gs.Tensor, b: gs.Tensor) -> dict[str, Any]:
    return {"a_dtype": dtype_of(a), "b_dtype": dtype_of(b)}


def emit_elementwise(
    node: gs.Node,
    lowering: Lowering,
    kernel: Callable[..., Op],
    constants: Sequence[Array] = (),
    operands: int = 2,
) -> None:
    """Emit a kernel of several operands in the layout of the largest; `kernel` takes the result's shape in memory, then
    theirs."""
    rank = len(node.outputs[0].shape)
    values = [extended(lowering.value(tensor), rank) for tensor in node.inputs[:operands]]
    leader = max(values, key=lambda value: (np.prod(value.shape), value.buffer not in lowering.constants))
    order = leader.order
    names = (tensor.name for tensor in node.inputs[:operands])
    placed = [lowering.reorder(value, order, name) for value, name in zip(values, names, strict=True)]
    stored = tuple(node.outputs[0].shape[axis] for axis in order)
    made = kernel(stored, *(value.stored for value in placed))
    lowering.emit(node, made, [value.buffer for value in placed], constants, node.outputs[0], order)


def extended(value: Value, rank: int) -> Value:
    """`value` with unit axes in front up to `rank`, as numpy broadcasting sees it."""
    missing = rank - len(value.shape)
    order: Order = (*range(missing), *(axis + missing for axis in value.order))
    return Value(value.buffer, (1,) * missing + value.shape, order)
