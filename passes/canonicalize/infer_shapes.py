"""Give every tensor its static shape and type.

onnx's own inference answers for most operators. What it leaves open (arithmetic on shapes that it does not follow,
operators of other domains), or counts otherwise than onnxruntime (pools with ceil_mode, a Squeeze of an empty list of
axes), is read off two runs in onnxruntime on different random inputs: a shape that differs between them depends on the
data, and no static program can hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError, reason_of
from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.evaluate import random_inputs, run_tensors
from bevel.passes.conditions import SHAPED_INPUTS, STATIC_SHAPES
from bevel.passes.graph.edit import static_shape

# The inputs whose values decide the size of an operator's result.
SIZES = {
    "NonZero": (0,),
    "Unique": (0,),
    "Compress": (1,),
    "NonMaxSuppression": (0, 1, 2, 3, 4),
    "Reshape": (1,),
    "Unsqueeze": (1,),
    "Squeeze": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Pad": (1,),
    "Resize": (2, 3),
    "TopK": (1,),
    "OneHot": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "CenterCropPad": (1,),
    **{f"Reduce{kind}": (1,) for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp")},
}


class Type(NamedTuple):
    dtype: Any
    shape: tuple[int, ...]


@dataclass(frozen=True)
class InferShapes(Pass):
    """Raises UserError for a node whose output shape depends on data."""

    name: ClassVar[str] = "infer-shapes"
    requires: ClassVar[tuple[Condition, ...]] = (SHAPED_INPUTS,)
    ensures: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        tensors = computed_tensors(graph)
        types = infer(untyped_model(graph), [tensor.name for tensor in tensors], graph)
        modified = False
        for tensor in tensors:
            found = types[tensor.name]
            if tensor.dtype != found.dtype or static_shape(tensor) != found.shape:
                tensor.dtype, tensor.shape = found.dtype, found.shape
                modified = True
        return work.result(modified)


def computed_tensors(graph: gs.Graph) -> list[gs.Variable]:
    return [tensor for node in graph.nodes for tensor in node.outputs if not tensor.is_empty()]


def untyped_model(graph: gs.Graph) -> onnx.ModelProto:
    """The graph as a model without what it claims about its tensors: those claims may predate a fixed batch."""
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    return model


def infer(model: onnx.ModelProto, names: list[str], graph: gs.Graph) -> dict[str, Type]:
    """Type and shape of each named tensor: by inference where it answers, else by running."""
    empty = {tensor.name for tensor in model.graph.initializer if 0 in tensor.dims}
    if any(is_distrusted(node, empty) for node in model.graph.node):
        return observe(model, names, graph)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True).graph
    except Exception:  # its errors share no base class but Exception; onnxruntime then answers, or says what is wrong
        return observe(model, names, graph)
    types = {}
    for value in (*inferred.value_info, *inferred.output):
        if (found := read_type(value)) is not None:
            types[value.name] = found
    holes = [name for name in names if name not in types]
    return types | observe(model, holes, graph) if holes else types


def is_distrusted(node: onnx.NodeProto, empty: set[str]) -> bool:
    """Whether onnx may count the node's output otherwise than onnxruntime. empty: constants without values."""
    if node.op_type == "Squeeze":  # of no axes: of none to the one, of all of size 1 to the other
        return not empty.isdisjoint(node.input[1:])
    return any(attribute.name == "ceil_mode" and attribute.i for attribute in node.attribute)


def read_type(value: onnx.ValueInfoProto) -> Type | None:
    tensor = value.type.tensor_type
    if not tensor.elem_type or not tensor.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    return Type(dtype, tuple(dim.dim_value for dim in tensor.shape.dim))


def observe(model: onnx.ModelProto, names: list[str], graph: gs.Graph) -> dict[str, Type]:
    """What the named tensors look like when the model runs."""
    check_given_sizes(graph, set(names))
    try:
        one, other = (run_tensors(model, names, random_inputs(model, seed)) for seed in (0, 1))
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise UserError(
            f"the shape of {names[0]} is unknown, and the model does not run on random input: {reason_of(error)}"
        ) from error
    for name in names:
        if not isinstance(one[name], np.ndarray):
            raise UserError(f"node {maker(graph, name)} gives {name}, a {type(one[name]).__name__}; only tensors work")
        if one[name].shape != other[name].shape:
            raise UserError(
                f"node {maker(graph, name)}: the shape of {name} depends on the input's values"
                f" ({list(one[name].shape)} or {list(other[name].shape)}); cut the model before it"
            )
    return {name: Type(array.dtype, array.shape) for name, array in one.items()}


def check_given_sizes(graph: gs.Graph, unknown: set[str]) -> None:
    """Raises UserError for a node that takes the size of its `unknown` result from the values of a graph input: two
    runs may agree by chance."""
    for node in graph.nodes:
        if not any(tensor.name in unknown for tensor in node.outputs):
            continue
        for place in SIZES.get(node.op, ()):
            source = input_behind(graph, node.inputs[place]) if place < len(node.inputs) else None
            if source is not None:
                raise UserError(
                    f"node {node.name} ({node.op}): the shape of its result depends on the values of input "
                    f"{source}; give it a constant one, or cut the model before it"
                )


def input_behind(graph: gs.Graph, tensor: gs.Tensor) -> str | None:
    """The graph input whose values decide those of `tensor`; shapes of tensors are fixed."""
    pending, seen = [tensor], set()
    while pending:
        current = pending.pop()
        if id(current) in seen or isinstance(current, gs.Constant) or current.is_empty():
            continue
        seen.add(id(current))
        if any(current is one for one in graph.inputs):
            return str(current.name)
        pending += [one for node in current.inputs if node.op not in ("Shape", "Size") for one in node.inputs]
    return None


def maker(graph: gs.Graph, name: str) -> str:
    return next(f"{node.name} ({node.op})" for node in graph.nodes for tensor in node.outputs if tensor.name == name)
