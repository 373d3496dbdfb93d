"""A QDQ file without what its quantizers repeat: it is to be smaller than the float model, not larger.

A quantizer is two nodes, three tensors and two constants named after the tensor it is put on, whose name may be that of
a whole layer stack (tf2onnx joins the names of what it fused). So scales and zero points stand in the file once for
each value; quantizers have no names, and what they make has a number; constants keep a name up to `LONGEST`; shapes
that every reader infers and attributes at their defaults are left out. Tensors of the float model keep their names.
Nothing that is computed changes.
"""

from __future__ import annotations

import onnx

LINEAR = ("QuantizeLinear", "DequantizeLinear")
LONGEST = 32  # characters
WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
DEFAULTS = {"strides": 1, "dilations": 1, "pads": 0, "group": 1, "count_include_pad": 0, "ceil_mode": 0}


def compact_quantizers(model: onnx.ModelProto) -> None:
    """Edit `model`, as `bevel.passes.exchange.export` makes it."""
    names = FreeNames(model.graph)
    share_parameters(model.graph, names)
    shorten(model.graph, names)
    for node in model.graph.node:
        if node.op_type in LINEAR:
            node.name = ""
        drop_defaults(node)
    del model.graph.value_info[:]


class FreeNames:
    """Names that a graph does not have yet."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        ports = [port.name for port in (*graph.input, *graph.output)]
        tensors = [name for node in graph.node for name in (*node.input, *node.output)]
        self.taken = {*ports, *tensors, *(one.name for one in graph.initializer)}
        self.counts: dict[str, int] = {}

    def new(self, kind: str) -> str:
        """`kind` and a number."""
        while True:
            number = self.counts.get(kind, 0)
            self.counts[kind] = number + 1
            name = f"{kind}{number}"
            if name not in self.taken:
                return name


def share_parameters(graph: onnx.GraphProto, names: FreeNames) -> None:
    """Scales and zero points that only quantizers read: one constant for each value."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    elsewhere = {name for node in graph.node for name in values_of(node)} | {port.name for port in graph.output}
    known: dict[bytes, str] = {}
    made: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type not in LINEAR:
            continue
        for place, name in enumerate(node.input[1:3], 1):
            if name not in constants or name in elsewhere:
                continue
            value = onnx.TensorProto()
            value.CopyFrom(constants[name])
            value.name = ""
            key = value.SerializeToString(deterministic=True)
            if key not in known:
                value.name = known[key] = names.new("scale" if place == 1 else "zero")
                made[value.name] = value
            node.input[place] = known[key]
    read = {name for node in graph.node for name in node.input} | elsewhere
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *made.values()])


def values_of(node: onnx.NodeProto) -> list[str]:
    """What a node reads, but for a quantizer's scale and zero point."""
    return list(node.input[:1] if node.op_type in LINEAR else node.input)


def shorten(graph: onnx.GraphProto, names: FreeNames) -> None:
    """Numbers in place of the names of what quantizers make, and of constants with long names."""
    outputs = {port.name for port in graph.output}
    new: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in LINEAR and node.output[0] not in outputs:
            new[node.output[0]] = names.new("q" if node.op_type == "QuantizeLinear" else "d")
    for tensor in graph.initializer:
        if len(tensor.name) > LONGEST and tensor.name not in outputs:
            new[tensor.name] = names.new("c")
    for tensor in graph.initializer:
        tensor.name = new.get(tensor.name, tensor.name)
    for node in graph.node:
        for field in (node.input, node.output):
            for place, name in enumerate(field):
                if name in new:
                    field[place] = new[name]


def drop_defaults(node: onnx.NodeProto) -> None:
    """Leave out what ONNX takes for a window that steps by one over an image without padding."""
    if node.op_type not in WINDOWED or node.domain:
        return
    kept = [
        one for one in node.attribute if one.name not in DEFAULTS or set(one.ints or [one.i]) != {DEFAULTS[one.name]}
    ]
    del node.attribute[:]
    node.attribute.extend(kept)
