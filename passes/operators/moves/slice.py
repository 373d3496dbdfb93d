"""Slice and Split: some of the integers, copied. Each output of a Split is a Slice of its own."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.slice import Slice as SliceKernel
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.widths import dtype_of

LARGEST = (2**31 - 1, 2**63 - 1)


class SliceWindow(NamedTuple):
    """First index, number of elements and step along one axis."""

    start: int
    size: int
    step: int


class Slice(Operator):
    float_ops: ClassVar = frozenset({"Slice", "Split"})
    limits: ClassVar = "constant bounds"
    standard: ClassVar = frozenset({"Slice"})
    ties: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op not in self.float_ops:
            return None
        if not all(isinstance(tensor, gs.Constant) or tensor.is_empty() for tensor in node.inputs[1:]):
            return Reason("where it cuts is computed")
        return Match(node, tuple(node.inputs[:1]))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x = site.inputs[0]
        if not isinstance(x, Activation):
            return Reason("its input is not quantized")
        if site.node.op == "Slice":
            return site.standard([x.tensor, *site.node.inputs[1:]])
        axis = int(site.node.attrs.get("axis", 0))
        sizes = [int(output.shape[axis]) for output in site.node.outputs]
        start = sum(sizes[: site.index])
        bounds = {"starts": start, "ends": start + sizes[site.index], "axes": axis % len(site.shape)}
        constants = [site.constant(role, np.array([value], np.int64)) for role, value in bounds.items()]
        return [gs.Node("Slice", site.name, {}, [x.tensor, *constants], [site.output])]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        value = lowering.value(node.inputs[0])
        starts, ends, *rest = [None if tensor.is_empty() else lowering.constant(tensor) for tensor in node.inputs[1:]]
        if starts is None or ends is None:
            raise ValueError(f"{node.name} does not say where it cuts")
        windows = slice_windows(value.shape, starts, ends, *rest)
        placed = [windows[axis] for axis in value.order]
        kernel = SliceKernel(
            shape=value.stored,
            starts=tuple(window.start for window in placed),
            sizes=tuple(window.size for window in placed),
            steps=tuple(window.step for window in placed),
            dtype=dtype_of(node.inputs[0]),
        )
        lowering.emit(node, kernel, [value.buffer], (), node.outputs[0], value.order)


def slice_windows(
    shape: tuple[int, ...],
    starts: Array,
    ends: Array,
    axes: Array | None = None,
    steps: Array | None = None,
) -> list[SliceWindow]:
    """ONNX Slice's arguments as one window an axis. Python's slice clamps alike but for steps back: onnxruntime begins
    with the first element where they would begin before it, and takes a largest integer for no end."""
    windows = [SliceWindow(0, size, 1) for size in shape]
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = int(axes[place]) % len(shape) if axes is not None else place
        step = int(steps[place]) if steps is not None else 1
        first, stop = int(start), int(end)
        if step < 0:
            first = max(first, -shape[axis])
        endless = step < 0 and (stop < -shape[axis] or stop in LARGEST)
        taken = range(shape[axis])[first : None if endless else stop : step]
        windows[axis] = SliceWindow(taken.start, len(taken), step)
    return windows
