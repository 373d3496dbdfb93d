"""What each output of a model is: numbers, scores of classes or numbers of classes; and the parts it was joined from.

- ids: class numbers or truth values. The output is integer [batch] or [batch, 1], or wider than 16 bits, or boolean,
  or it comes from ArgMax or ArgMin. They are compared for equality; a power ratio of class numbers means nothing.
- scores: [batch, classes], and either class labels are given that fit (`bevel.tools.accuracy.quality`), or it comes
  from Softmax, LogSoftmax or Hardmax. Their largest is the answer.
- numbers: all else: boxes, pictures, landmarks, single values. They have no answers.

Parts: where the last Concat before an output joins tensors, looked at through what only moves or scales elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import DEQUANTIZERS, QUANTIZERS, ROUNDINGS
from bevel.passes.graph.regions import ONE_INPUT, WITH_CONSTANTS

Array = NDArray[Any]
Kind = Literal["ids", "scores", "numbers"]

RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
IN_PLACE = (*QUANTIZERS, *DEQUANTIZERS, *ROUNDINGS, "Identity", "Cast")
SCORES = ("Softmax", "LogSoftmax", "Hardmax")
IDS = ("ArgMax", "ArgMin")
CHOICES = (*IDS, "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
RANKINGS = (*CHOICES, *SCORES)
MOST_PARTS = 64  # more are no parts of a detection head but a sequence


@dataclass(frozen=True, eq=False)
class Described:
    """parts: the tensors that were joined, at least two, or none; where: the number of its part for each element."""

    name: str
    kind: Kind
    tensor: str  # in the canonical graph
    parts: tuple[str, ...] = ()
    where: Array | None = None


def describe_outputs(canonical: onnx.ModelProto) -> dict[str, Described]:
    """By the names of the outputs, in their order."""
    graph = gs.import_onnx(canonical)
    return {tensor.name: described(tensor) for tensor in graph.outputs}


def described(tensor: gs.Variable) -> Described:
    kind = kind_of(tensor)
    parts, where = traced(tensor)
    names = list(dict.fromkeys(parts))  # a tensor that was joined twice is one part
    if kind != "numbers" or not 2 <= len(names) <= MOST_PARTS:
        return plain(tensor.name, kind)
    number = np.array([names.index(name) for name in parts], np.int32)
    return Described(tensor.name, kind, tensor.name, tuple(names), number[where])


def plain(name: str, kind: Kind = "numbers") -> Described:
    return Described(name, kind, name)


def kind_of(tensor: gs.Variable) -> Kind:
    dtype, shape = np.dtype(tensor.dtype), tuple(tensor.shape)
    source = made_by(tensor)
    single = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    if source in IDS or dtype.kind == "b" or (dtype.kind in "iu" and (single or dtype.itemsize > 2)):
        return "ids"
    return "scores" if source in SCORES and len(shape) == 2 and shape[1] > 1 else "numbers"


def with_scores(model: onnx.ModelProto, choices: tuple[str, ...] = CHOICES) -> onnx.ModelProto:
    """`model` with the floats that class numbers are chosen from in place of these: what has an error that adds up.

    `model` itself where no output is one of `choices`: ArgMax, ArgMin or a comparison; of `RANKINGS`, Softmax too.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    types = {value.name: value.type for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    sources = {value.name: chosen_from(value.name, makers, choices) for value in model.graph.output}
    if not any(sources.values()):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    for value in model.graph.output:
        source = sources[value.name]
        if source is None:
            result.graph.output.append(value)
            continue
        scores = onnx.ValueInfoProto(name=f"{value.name}/scores", type=types.get(source))
        result.graph.node.append(onnx.helper.make_node("Identity", [source], [scores.name], f"{scores.name}/identity"))
        result.graph.output.append(scores)
    return result


def chosen_from(tensor: str, makers: Mapping[str, onnx.NodeProto], choices: tuple[str, ...]) -> str | None:
    """The tensor that one of `choices` reads, behind which `tensor` comes by moves and casts."""
    node = makers.get(tensor)
    while node is not None and node.op_type in (*RESHAPES, *IN_PLACE, "Transpose"):
        node = makers.get(node.input[0])
    return node.input[0] if node is not None and node.op_type in choices else None


def made_by(tensor: gs.Tensor) -> str:
    """The operator that `tensor` comes from, but for what moves elements or changes their type."""
    node = producer(tensor)
    while node is not None and node.op in (*RESHAPES, *IN_PLACE, "Transpose"):
        tensor = node.inputs[0]
        node = producer(tensor)
    return "" if node is None else str(node.op)


def traced(tensor: gs.Tensor) -> tuple[list[str], Array]:
    """The tensors joined in `tensor`, and the number of the one that each element comes from."""
    node, whole = producer(tensor), np.zeros(tuple(map(int, tensor.shape)), np.int32)
    if node is None:
        return [tensor.name], whole
    if node.op == "Concat":
        return joined(node)
    if node.op in RESHAPES:
        parts, where = traced(node.inputs[0])
        moved: Array = where.reshape(whole.shape)
    elif node.op == "Transpose":
        parts, where = traced(node.inputs[0])
        moved = where.transpose(node.attrs.get("perm", range(where.ndim)[::-1]))
    elif (source := source_in_place(node)) is not None:
        parts, moved = traced(source)
    else:
        return [tensor.name], whole
    return (parts, moved) if len(parts) > 1 else ([tensor.name], whole)


def joined(node: gs.Node) -> tuple[list[str], Array]:
    names: list[str] = []
    places: list[Array] = []
    for parts, where in map(traced, node.inputs):
        places.append(where + len(names))
        names += parts
    return names, np.concatenate(places, axis=int(node.attrs["axis"]))


def source_in_place(node: gs.Node) -> gs.Tensor | None:
    """The only computed tensor that `node` reads, where each element stays in its place."""
    if node.op not in (*IN_PLACE, *ONE_INPUT, *WITH_CONSTANTS):
        return None
    given = [one for one in node.inputs if isinstance(one, gs.Variable) and not one.is_empty()]
    alone = len(given) == 1 and tuple(given[0].shape or ()) == tuple(node.outputs[0].shape)
    return given[0] if alone else None
