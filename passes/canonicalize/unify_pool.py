"""Spell pooling out: explicit pads, no auto_pad, no ceil_mode, and one name for what runs over all positions.

MaxPool: padding never wins, so the windows that ceil_mode adds, and a window larger than the input, are windows over
more padding at the end. AveragePool that does not count padding: the same. The mean over every position (AveragePool
of one window, ReduceMean over all spatial axes of a rank-4 or rank-5 tensor) is GlobalAveragePool, and so is ReduceMax
GlobalMaxPool, with a Reshape behind it where the axes were dropped. Exact, but for the order of a sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.window import WindowAxis, auto_padding, axes, explicit
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, given, integers, static_shape, variable

# A reduction over all spatial axes: the pool that it is, and the ranks that this has
GLOBAL = {"ReduceMean": ("GlobalAveragePool", (4, 5)), "ReduceMax": ("GlobalMaxPool", (3, 4))}


@dataclass(frozen=True)
class UnifyPool(Pass):
    name: ClassVar[str] = "unify-pool"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in alive(graph):
            match node.op:
                case "MaxPool" | "AveragePool":
                    reason, changed = unify_window(node)
                case op if op in GLOBAL:
                    reason, changed = unify_global(graph, node)
                case _:
                    continue
            if reason:
                notes.append(self.note(node.name, "stays", f"stays as it is: {reason}"))
            modified |= changed
        return work.result(modified, notes)


def unify_window(node: gs.Node) -> tuple[str | None, bool]:
    """Spell out the attributes of a pool; (why not, whether something changed)."""
    attrs = pool_attributes(node)
    if isinstance(attrs, str):
        return attrs, False
    if node.op == "AveragePool" and is_global(node, attrs):
        node.op, node.attrs = "GlobalAveragePool", {}
        return None, True
    changed = attrs != node.attrs
    node.attrs = attrs
    return None, changed


def pool_attributes(node: gs.Node) -> dict[str, Any] | str:
    spatial = axes(node, tuple(node.attrs["kernel_shape"]))
    padded = [replace(axis, begin=begin, end=end) for axis in spatial for begin, end in [auto_padding(node, axis)]]
    outputs = tuple(map(windows if node.attrs.get("ceil_mode", 0) else whole_windows, padded))
    counts = bool(node.attrs.get("count_include_pad", 0))
    if len(node.outputs) > 1:
        return "its indices are used, and they depend on the padding"
    if node.attrs.get("auto_pad", "NOTSET").startswith("SAME") and any(map(skips_ends, spatial)):
        return "auto_pad SAME with strides wider than its windows: runtimes disagree on where the windows lie"
    if node.attrs.get("auto_pad", "NOTSET").startswith("SAME") and any(axis.extent > axis.kernel for axis in spatial):
        what = "auto_pad SAME with dilations is another size to onnx than to onnxruntime, which pads as without"
        raise UserError(f"node {node.name} ({node.op}): {what}; give it pads")
    grown = [grow(axis, windows) for axis, windows in zip(padded, outputs, strict=True)]
    if [axis.windows for axis in grown] != list(outputs):
        return "its padding gives no output of the inferred size"
    if any(max(axis.begin, axis.end) >= axis.kernel for axis in grown):
        return "its padding is as wide as its window"
    if node.op == "AveragePool" and counts and grown != padded:
        return "count_include_pad with windows beyond the padding has no spelling by pads"
    pads = [(axis.begin, axis.end) for axis in grown]
    attrs = explicit(grown, pads)
    if node.op == "AveragePool":
        attrs["count_include_pad"] = int(counts and any(map(any, pads)))
        if set(attrs["dilations"]) <= {1}:
            del attrs["dilations"]  # onnxruntime up to 1.32 passes it on to QLinearAveragePool, which has none
    return attrs


def whole_windows(axis: WindowAxis) -> int:
    """The windows without ceil_mode: those that fit, and one larger than the padded input by less than its stride.

    onnx's shape inference and onnxruntime both divide as C does, towards 0, and leave out the taps outside.
    """
    return axis.windows + (-axis.stride < axis.size + axis.begin + axis.end - axis.extent < 0)


def windows(axis: WindowAxis) -> int:
    """The windows of ceil_mode: as many as cover the input, but none that starts in the padding at its end.

    The rule is the specification's since opset 22 and onnxruntime's at any; onnx's shape inference counts one more.
    """
    covering = -(-(axis.size + axis.begin + axis.end - axis.extent) // axis.stride) + 1
    return covering - ((covering - 1) * axis.stride >= axis.size + axis.begin)


def skips_ends(axis: WindowAxis) -> bool:
    """Whether the windows of auto_pad SAME cover less than the input: onnxruntime then crops where others do not."""
    return (-(-axis.size // axis.stride) - 1) * axis.stride + axis.extent < axis.size


def grow(axis: WindowAxis, windows: int) -> WindowAxis:
    """The axis with as much more padding at its end as `windows` windows need."""
    needed = (windows - 1) * axis.stride + axis.extent - axis.size - axis.begin
    return replace(axis, end=max(axis.end, needed))


def is_global(node: gs.Node, attrs: dict[str, Any]) -> bool:
    """Whether one window covers the whole input, without padding."""
    sizes = (static_shape(node.inputs[0]) or ())[2:]
    return tuple(attrs["kernel_shape"]) == sizes and not any(attrs["pads"]) and set(attrs.get("dilations", ())) <= {1}


def unify_global(graph: gs.Graph, node: gs.Node) -> tuple[str | None, bool]:
    """Turn a mean or maximum over all spatial axes into a global pool; (why not, whether something changed)."""
    shape, (pool, ranks) = static_shape(node.inputs[0]), GLOBAL[node.op]
    reduced = reduced_axes(node)
    if shape is None or reduced is None or len(shape) not in ranks or len(node.inputs) < 2:
        return None, False
    if sorted(reduced) != list(range(2, len(shape))):
        return None, False
    result, keep = node.outputs[0], node.attrs.get("keepdims", 1)
    node.op, node.attrs, node.inputs = pool, {}, node.inputs[:1]
    if not keep:
        pooled = variable(graph, f"{node.name}.pooled", result.dtype, shape[:2] + (1,) * (len(shape) - 2))
        node.outputs = [pooled]
        target = constant(graph, f"{node.name}.shape", np.array(static_shape(result), np.int64))
        append(graph, "Reshape", f"{node.name}.reshape", [pooled, target], result)
    return None, True


def reduced_axes(node: gs.Node) -> list[int] | None:
    """The reduced axes, counted from the front; None where they are computed or empty."""
    rank = len(static_shape(node.inputs[0]) or ())
    found = integers(given(node, 1))
    return [axis % rank for axis in found] if found and rank else None
