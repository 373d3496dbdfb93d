"""Read float16, bfloat16 and float64 models as float32: quantization starts from one float type.

Every float16 and bfloat16 number is a float32 number, so weights keep their values; float64 weights are rounded once.
What the model computes moves by the precision of the type it was stored in, and what would overflow float16 no longer
does. Inputs and outputs of these types become float32, with a note.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from bevel.calib.errors import UserError, reason_of
from bevel.passes.base import Note
from bevel.passes.exchange.external_data import tensors_of

PASS = "load"  # whose notes these are
FLOAT = TensorProto.FLOAT
OTHERS: dict[int, str] = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}
# The attributes by which operators name the type of what they make.
TYPE_ATTRIBUTES = {
    "Cast": "to",
    "RandomNormal": "dtype",
    "RandomUniform": "dtype",
    "RandomNormalLike": "dtype",
    "RandomUniformLike": "dtype",
    "Bernoulli": "dtype",
    "EyeLike": "dtype",
    "SequenceEmpty": "dtype",
    "DequantizeLinear": "output_dtype",
    "HannWindow": "output_datatype",
    "HammingWindow": "output_datatype",
    "BlackmanWindow": "output_datatype",
    "MelWeightMatrix": "output_datatype",
}
WORDS = (b"FLOAT16", b"DOUBLE")
# Computed in this type inside, whatever the tensors are.
STASHED = frozenset(["LayerNormalization", "RMSNormalization", "GroupNormalization"])


def widen_floats(model: onnx.ModelProto) -> list[Note]:
    """Make every float tensor of `model` float32, in place; local functions stay.

    Raises UserError for weights that cannot be read.
    """
    found: set[str] = set()
    for tensor in tensors_of(model.graph):
        found |= widen_tensor(tensor)
    notes = []
    for value in (*model.graph.input, *model.graph.output):
        if (kind := widen_type(value.type)) is not None:
            found.add(kind)
            text = f"was {kind} in the model; the product takes and gives it as float32"
            notes.append(Note(PASS, value.name, "changed", text))
    found |= widen_graph(model.graph)
    if found:
        text = f"its {', '.join(sorted(found))} weights and tensors were read as float32"
        notes.insert(0, Note(PASS, "model", "changed", text))
    return notes


def widen_tensor(tensor: onnx.TensorProto) -> set[str]:
    if tensor.data_type not in OTHERS:
        return set()
    kind = OTHERS[tensor.data_type]
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise UserError(f"the weights {tensor.name} cannot be read ({reason_of(error)})") from error
    with np.errstate(over="ignore"):
        wide = values.astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(wide), tensor.name))
    return {kind}


def widen_type(kind: onnx.TypeProto) -> str | None:
    """Make a tensor type float32; what it was, None if it stays."""
    if kind.WhichOneof("value") != "tensor_type" or kind.tensor_type.elem_type not in OTHERS:
        return None
    was = OTHERS[kind.tensor_type.elem_type]
    kind.tensor_type.elem_type = FLOAT
    return was


def widen_graph(graph: onnx.GraphProto) -> set[str]:
    """The types inside a graph and the graphs in it."""
    kinds = [widen_type(value.type) for value in (*graph.input, *graph.output, *graph.value_info)]
    return widen_nodes(graph.node) | {kind for kind in kinds if kind is not None}


def widen_nodes(nodes: list[onnx.NodeProto]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        for attribute in node.attribute:
            named = attribute.name == TYPE_ATTRIBUTES.get(node.op_type)
            stash = attribute.name == "stash_type" and node.op_type in STASHED
            if (named or stash) and attribute.i in OTHERS:
                found.add(OTHERS[attribute.i])
                attribute.i = FLOAT
            elif named and attribute.s in WORDS:  # opsets before 6 spell the type out
                attribute.s = b"FLOAT"
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                found |= widen_graph(graph)
    return found
