"""Concat: its inputs and its output share one quantization, so the integers are copied side by side."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.kernels.concat import Concat as ConcatKernel
from bevel.calib.arithmetic import Output
from bevel.passes.lowering import Lowering
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site, Weight
from bevel.passes.operators.table import rescale
from bevel.passes.operators.wide_rescale import wide_rescale
from bevel.passes.operators.wide_values import dtype_of


class Concat(Operator):
    float_ops: ClassVar = frozenset({"Concat"})
    integer_op: ClassVar = "Concat"
    ties: ClassVar = True
    wide: ClassVar = True

    def tied(self, match: Match) -> tuple[gs.Tensor, ...]:
        return match.inputs

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        nodes, parts = [], []
        for index, part in enumerate(site.inputs):
            match part:
                case Activation() if (part.scale, part.zero_point, part.dtype) == (
                    site.scale,
                    site.result.zero_point,
                    site.result.dtype,
                ):
                    parts.append(part.tensor)
                case Activation():  # quantized elsewhere, on another scale
                    moved = gs.Variable(f"{site.name}/part{index}", site.result.dtype, list(part.tensor.shape))
                    change = wide_rescale if site.wide else rescale
                    rescaled = change(f"{site.name}/rescale{index}", part, moved, site.scale, site.result)
                    if isinstance(rescaled, Reason):
                        return rescaled
                    nodes += rescaled
                    parts.append(moved)
                case Weight() as constant:
                    parts.append(site.constant(f"part{index}", stored(constant.reals, site.scale, site.result)))
                case values:
                    parts.append(site.constant(f"part{index}", stored(values, site.scale, site.result)))
        return [*nodes, *site.standard(parts)]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        y = node.outputs[0]
        order = next(
            (value.order for value in map(lowering.value, node.inputs) if value.buffer not in lowering.constants),
            lowering.value(node.inputs[0]).order,
        )
        axis = order.index(int(node.attrs["axis"]) % len(order))
        sources = [lowering.read(tensor, order) for tensor in node.inputs]
        shapes = tuple(tuple(tensor.shape[axis] for axis in order) for tensor in node.inputs)
        lowering.emit(node, ConcatKernel(axis=axis, shapes=shapes, dtype=dtype_of(y)), sources, (), y, order)


def stored(values: Array, scale: float, result: Output) -> Array:
    return result.store(np.rint(values / np.float64(scale)).astype(np.int64))
