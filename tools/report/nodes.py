"""One line of the report for each operator: its format, its kernel, its error, and every note on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx

from bevel.backends.binary.artifact import BuiltCall
from bevel.passes import base
from bevel.tools.report.report import AskedRule, Node, Note
from bevel.tools.run.data import QUANTIZERS

INTEGERS = ("int8", "int16", "int32")


def describe_nodes(
    graphs: Sequence[onnx.ModelProto],
    integer: onnx.ModelProto,
    calls: Sequence[BuiltCall],
    errors: Mapping[str, float | None],
    notes: Iterable[base.Note],
    chosen: Mapping[str, str],
    rounders: Mapping[str, str],
) -> tuple[Node, ...]:
    """The nodes of integer.onnx, what kernel calls come on top, and every other node there are notes on.

    `graphs` are the float graphs, earliest first: a node that is gone is described as the latest of them has it.
    `chosen` are the formats of what we quantized, which may say more than the element type of a result; `rounders` are
    who rounded weights.
    """
    formats = node_formats(integer)
    kernels = joined((call.node, call.kernel) for call in calls)
    said: dict[str, dict[Note, None]] = {}
    for one in notes:
        said.setdefault(one.node, {})[Note(one.pass_, one.kind, one.text, dict(one.numbers))] = None
    rules = {call.node: tuple(AskedRule(*one) for one in call.asked) for call in calls if call.asked}
    ops = {node.name: node.op_type for graph in (integer, *graphs) for node in graph.graph.node if node.name}
    latest = [node.name for node in graphs[-1].graph.node if node.op_type not in QUANTIZERS]
    order = dict.fromkeys([*latest, *formats, *kernels, *said])
    return tuple(
        Node(
            name=name,
            op=ops.get(name) or next(iter(kernels.get(name, [""]))),  # a reordering has no node of its own
            format=described(formats.get(name), chosen.get(name)),
            rounder=rounders.get(name),
            kernel=" + ".join(dict.fromkeys(kernels.get(name, ()))) or None,
            sqnr_db=errors.get(name) if name in formats else None,  # what was fused counts with its node
            notes=tuple(said.get(name, ())),
            rules=rules.get(name, ()),
        )
        for name in order
        if name in formats or name in kernels or name in said
    )


def described(stored: str | None, chosen: str | None) -> str | None:
    """The chosen format of a node whose result is stored in integers, or as it says itself."""
    if chosen is None or stored is None:
        return stored
    return chosen if stored in INTEGERS or chosen.endswith(f", {stored}") else stored


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        found.setdefault(name, []).append(text)
    return found


def node_formats(integer: onnx.ModelProto) -> dict[str, str]:
    """{node: element type of its result} of the integer graph's nodes."""
    inferred = onnx.shape_inference.infer_shapes(integer).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}
    return {node.name: format_name(types.get(node.output[0], 0)) for node in integer.graph.node if node.name}


def format_name(elem_type: int) -> str:
    """'int8' or 'float32', as numpy spells it; an unknown type is int8, the only one that our functions return."""
    return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type)) if elem_type else "int8"
