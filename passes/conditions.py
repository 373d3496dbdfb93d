"""What passes ask for and promise: conditions that name the first tensor or node for which they do not hold.

Each walks the graph once and copies nothing, so a whole stage may be checked in production.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Work
from bevel.passes.graph.edit import static_shape
from bevel.passes.graph.quantizers import is_dequantize, is_quantize


def untyped_tensors(work: Work) -> Iterator[str]:
    for tensor in variables(work.graph):
        if static_shape(tensor) is None or tensor.dtype is None:
            yield f"{tensor.name} has shape {tensor.shape} and type {tensor.dtype}"


def unshaped_inputs(work: Work) -> Iterator[str]:
    for tensor in work.graph.inputs:
        if static_shape(tensor) is None:
            yield f"input {tensor.name} has shape {tensor.shape}"


def repeated_names(work: Work) -> Iterator[str]:
    nodes: set[str] = set()
    for node in work.graph.nodes:
        if not node.name or node.name in nodes:
            yield f"a {node.op} is called {node.name!r}" + (", as another node is" if node.name else "")
        nodes.add(node.name)
    tensors: dict[str, gs.Tensor] = {}
    for tensor in (*work.graph.inputs, *every_tensor(work.graph), *work.graph.outputs):
        if not tensor.name or tensors.setdefault(tensor.name, tensor) is not tensor:
            yield f"a tensor is called {tensor.name!r}" + (", as another is" if tensor.name else "")


def inner_graphs(work: Work) -> Iterator[str]:
    for node in work.graph.nodes:
        if node.op == "Constant" or any(isinstance(value, gs.Graph) for value in node.attrs.values()):
            yield f"{node.name} is a {node.op}"


def unmade_outputs(work: Work) -> Iterator[str]:
    for tensor in work.graph.outputs:
        if isinstance(tensor, gs.Constant) or not (tensor.inputs or any(tensor is one for one in work.graph.inputs)):
            yield f"nothing computes output {tensor.name}"


def quantizers(work: Work) -> Iterator[str]:
    for node in work.graph.nodes:
        if is_quantize(node) or is_dequantize(node):
            yield f"{node.name} is a {node.op}"


def late_makers(work: Work) -> Iterator[str]:
    made = {id(tensor) for tensor in work.graph.inputs}
    for node in work.graph.nodes:
        for tensor in node.inputs:
            if isinstance(tensor, gs.Variable) and not tensor.is_empty() and id(tensor) not in made:
                yield f"{node.name} stands before what makes {tensor.name}"
        made |= {id(tensor) for tensor in node.outputs}


def unsampled(work: Work) -> Iterator[str]:
    if work.data is None:
        yield "there are none"


def unplanned(work: Work) -> Iterator[str]:
    if work.planned is None:
        yield "there is none"


def variables(graph: gs.Graph) -> Iterator[gs.Variable]:
    """Graph inputs, and what nodes compute."""
    yield from graph.inputs
    yield from (tensor for node in graph.nodes for tensor in node.outputs if not tensor.is_empty())


def every_tensor(graph: gs.Graph) -> Iterator[gs.Tensor]:
    yield from (tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs) if not tensor.is_empty())


SHAPED_INPUTS = Condition("inputs of static shape", unshaped_inputs)
STATIC_SHAPES = Condition("static shapes and types", untyped_tensors)
UNIQUE_NAMES = Condition("a name of its own for each node and tensor", repeated_names)
PLAIN_NODES = Condition("no Constant nodes and no subgraphs", inner_graphs)
MADE_OUTPUTS = Condition("outputs that are inputs or that a node computes", unmade_outputs)
FLOAT = Condition("a model without quantizers", quantizers)
EXECUTION_ORDER = Condition("nodes in execution order", late_makers)
SAMPLED = Condition("calibration samples", unsampled)
PLANNED = Condition("a plan with scales", unplanned)
