"""What operators on two tensors share: two operands, broadcast, in one layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.op import Op
from bevel.passes.operators.base import Activation, Array, Reason, Site, Weight
from bevel.passes.operators.lowering import Lowering, Order, Value

Shape = tuple[int, ...]


def operand(site: Site, index: int) -> Activation | Reason:
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
