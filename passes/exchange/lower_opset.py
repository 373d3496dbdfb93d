"""Bring a model of a newer opset down to the one that every later stage speaks, where that changes nothing.

An operator gets a new version when its definition changes; most changes only allow more types. Where each operator of
the model has the same attributes with the same defaults, inputs and outputs in the older version, the model means the
same under the older number, and only the number is changed. Operators that the older opset lacks hold it where they
are first defined.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import defs

from bevel.calib.errors import UserError

STANDARD = ("", "ai.onnx")
REDEFINED = frozenset(["Attention"])  # later versions mask differently under the same attributes


def lower_opset(model: onnx.ModelProto, wanted: int) -> None:
    """Lower the standard opset of `model` to `wanted`, or as near to it as its operators allow, in place.

    Raises UserError for an opset that the installed onnx does not know.
    """
    version = max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=0)
    known = defs.onnx_opset_version()
    if version > known:
        raise UserError(
            f"opset {version} is newer than onnx {onnx.__version__} knows ({known}); "
            f"export the model with opset {known} or older, or install a newer onnx"
        )
    if version <= wanted:
        return
    nodes = [node for node in all_nodes(model) if node.domain in STANDARD]
    lowest = max((lowest_version(node, version, wanted) for node in nodes), default=wanted)
    for entry in model.opset_import:
        if entry.domain in STANDARD:
            entry.version = lowest


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    yield from nodes_of(model.graph.node)
    for function in model.functions:
        yield from nodes_of(function.node)


def nodes_of(nodes: list[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from nodes_of(graph.node)


def lowest_version(node: onnx.NodeProto, version: int, wanted: int) -> int:
    """The lowest opset of at least `wanted` under which the node means what it means under `version`."""
    new = schema(node.op_type, version)
    if new is None:
        return version
    lowest = version
    for candidate in range(version - 1, wanted - 1, -1):
        old = schema(node.op_type, candidate)
        if old is None or not means_the_same(node, old, new):
            break
        lowest = candidate
    return lowest


def schema(operator: str, version: int) -> defs.OpSchema | None:
    try:
        return defs.get_schema(operator, version, "")
    except defs.SchemaError:
        return None


def means_the_same(node: onnx.NodeProto, old: defs.OpSchema, new: defs.OpSchema) -> bool:
    """Whether the definitions agree in all that the node uses. Types are not compared: onnxruntime checks those."""
    if old.since_version == new.since_version:
        return True
    if node.op_type in REDEFINED:
        return False
    used = {attribute.name for attribute in node.attribute}
    if not used <= set(old.attributes) or len(node.input) > old.max_input or len(node.output) > old.max_output:
        return False
    added = (attribute for name, attribute in new.attributes.items() if name not in old.attributes)
    unused = (name for name in old.attributes if name not in used)
    return all(default_of(old, name) == default_of(new, name) for name in unused) and not any(
        attribute.required for attribute in added
    )


def default_of(operator: defs.OpSchema, name: str) -> bytes:
    attribute = operator.attributes.get(name)
    found: bytes = b"" if attribute is None else attribute.default_value.SerializeToString()
    return found
