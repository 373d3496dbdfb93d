"""An input that takes a camera's uint8 in place of the same numbers as floats: the model begins with a Cast."""

from __future__ import annotations

from collections.abc import Collection

import onnx


def take_pixels(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """`model` with the inputs `names`, of float32, as uint8; none of them is an output, too."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {one.name for one in graph.input}
    nodes = list(graph.node)
    for one in graph.input:
        if one.name not in names:
            continue
        cast = f"{one.name}/float"
        while cast in taken:
            cast += "'"
        one.type.tensor_type.elem_type = onnx.TensorProto.UINT8
        for node in nodes:
            for place, name in enumerate(node.input):
                if name == one.name:
                    node.input[place] = cast
        nodes.insert(
            0, onnx.helper.make_node("Cast", [one.name], [cast], f"{one.name}/cast", to=onnx.TensorProto.FLOAT)
        )
    del graph.node[:]
    graph.node.extend(nodes)
    return changed


def float_inputs(model: onnx.ModelProto) -> list[str]:
    """The float32 inputs that some node reads and that are no outputs."""
    outputs = {one.name for one in model.graph.output}
    floats = (one for one in model.graph.input if one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)
    return [one.name for one in floats if one.name not in outputs]
