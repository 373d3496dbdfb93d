"""Absorb a Pad into the pads of the convolution or pool behind it.

Conv: a Pad with zeros over spatial axes is the same zeros. AveragePool: the same where the padding counts as elements
(count_include_pad), so the pool must have no padding of its own or count it. MaxPool: its own padding never wins, so
the Pad must not win either: zeros before a pool of values that cannot be negative, or the lowest float. Exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, detach, given, integers, is_output, producer, scalar, static_shape

NOT_NEGATIVE = {"Relu", "Sigmoid", "Softmax", "Abs", "Sqrt", "HardSigmoid", "Exp"}
LOWEST = float(np.finfo(np.float32).min)


class Padding(NamedTuple):
    """Elements added before and after each spatial axis, and what they hold."""

    begins: tuple[int, ...]
    ends: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class AbsorbPad(Pass):
    """Requires explicit pads (UnifyConv, UnifyPool)."""

    name: ClassVar[str] = "absorb-pad"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in alive(graph):
            if node.op != "Pad":
                continue
            padding = find(graph, node)
            reason = padding if isinstance(padding, str) else first_obstacle(node, padding)
            if isinstance(padding, str) or reason:
                notes.append(self.note(node.name, "stays", f"Pad stays: {reason}"))
                continue
            absorb(node, padding)
            modified = True
        return work.result(modified, notes)


def find(graph: gs.Graph, pad: gs.Node) -> Padding | str:
    """What the Pad adds to the spatial axes, or why nothing behind it can absorb it."""
    if pad.attrs.get("mode", "constant") != "constant":
        return f"it pads by {pad.attrs['mode']}"
    shape, amounts = static_shape(pad.inputs[0]), integers(pad.inputs[1])
    fill = given(pad, 2)
    value = 0.0 if fill is None else scalar(fill)
    if shape is None or amounts is None or value is None:
        return "its amounts or its value are computed"
    axes = integers(given(pad, 3)) if given(pad, 3) is not None else tuple(range(len(shape)))
    if axes is None:
        return "its axes are computed"
    begins, ends = [0] * len(shape), [0] * len(shape)
    for axis, begin, end in zip(axes, amounts[: len(axes)], amounts[len(axes) :], strict=True):
        begins[axis], ends[axis] = begin, end
    if any((*begins[:2], *ends[:2])):
        return "it pads the batch or the channels"
    if min((*begins, *ends)) < 0:
        return "it crops"
    if is_output(graph, pad.outputs[0]):
        return "it gives a graph output"
    return Padding(tuple(begins[2:]), tuple(ends[2:]), value)


def first_obstacle(pad: gs.Node, padding: Padding) -> str | None:
    """Why some reader of the Pad cannot absorb it, or None."""
    return next(
        (f"{node.name}: {why}" for node in pad.outputs[0].outputs if (why := obstacle(pad, node, padding))), None
    )


def obstacle(pad: gs.Node, reader: gs.Node, padding: Padding) -> str | None:
    if "pads" not in reader.attrs or reader.inputs[0] is not pad.outputs[0]:
        return f"{reader.op} has no padding of its own"
    own = any(reader.attrs["pads"])
    wide = any(
        total >= kernel for total, kernel in zip(joined(reader, padding), reader.attrs["kernel_shape"] * 2, strict=True)
    )
    match reader.op:
        case "Conv":
            return None if padding.value == 0 else f"it would need zeros, not {padding.value}"
        case "AveragePool":
            if padding.value != 0:
                return f"it would need zeros, not {padding.value}"
            if own and not reader.attrs.get("count_include_pad", 0):
                return "it does not count its own padding"
            return "the padding would be as wide as the window" if wide else None
        case "MaxPool":
            if len(reader.outputs) > 1:
                return "its indices depend on the padding"
            harmless = padding.value <= LOWEST or (padding.value == 0 and never_negative(pad.inputs[0]))
            if not harmless:
                return f"{padding.value} can be larger than its input"
            return "the padding would be as wide as the window" if wide else None
    return f"{reader.op} cannot absorb padding"


def never_negative(tensor: gs.Tensor) -> bool:
    node = producer(tensor)
    if node is None:
        return False
    if node.op == "Clip":
        low = given(node, 1)
        return low is not None and (scalar(low) or 0) >= 0 and scalar(low) is not None
    return node.op in NOT_NEGATIVE


def joined(node: gs.Node, padding: Padding) -> list[int]:
    """The node's pads with the Pad's added."""
    added = (*padding.begins, *padding.ends)
    return [own + more for own, more in zip(node.attrs["pads"], added, strict=True)]


def absorb(pad: gs.Node, padding: Padding) -> None:
    for reader in list(pad.outputs[0].outputs):
        reader.attrs = {**reader.attrs, "pads": joined(reader, padding)}
        if reader.op == "AveragePool":
            reader.attrs["count_include_pad"] = 1
        reader.inputs[0] = pad.inputs[0]
    detach(pad)
