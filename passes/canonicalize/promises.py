"""What canonicalization promises, as conditions: those of the list in `bevel.passes.canonicalize` that a look at the
graph can decide. What stays as it was by a note's word is let through where that word is said.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Work
from bevel.passes.canonicalize.convert_opset import OPSET
from bevel.passes.conditions import MADE_OUTPUTS, PLAIN_NODES, STATIC_SHAPES, UNIQUE_NAMES
from bevel.passes.graph.edit import given, integers, scalar, static_shape

CONVOLUTIONS = ("Conv", "ConvTranspose")
WINDOW = ("kernel_shape", "strides", "dilations", "pads", "group")
SPELLED = ("Sum", "Mean", "ReduceL1", "ReduceLogSum", "ReduceSumSquare", "DepthToSpace", "SpaceToDepth")
SHAPE_OPERATORS = ("Flatten", "Squeeze", "Unsqueeze")


def old_opset(work: Work) -> Iterator[str]:
    if work.graph.opset < OPSET:
        yield f"it is opset {work.graph.opset}"


def idle_identities(work: Work) -> Iterator[str]:
    outputs = {id(tensor) for tensor in work.graph.outputs}
    for node in work.graph.nodes:
        if node.op == "Identity" and not node.domain and id(node.outputs[0]) not in outputs:
            yield f"{node.name} copies {node.inputs[0].name}"


def brief_convolutions(work: Work) -> Iterator[str]:
    stays = staying(work)
    for node in work.graph.nodes:
        if node.op not in CONVOLUTIONS or node.domain:
            continue
        if len(node.inputs) != 3:
            yield f"{node.name} has no bias"
        missing = [name for name in WINDOW if name not in node.attrs]
        if node.name not in stays and (missing or "auto_pad" in node.attrs):
            yield f"{node.name} lacks {missing}" if missing else f"{node.name} has auto_pad"


def attributed_products(work: Work) -> Iterator[str]:
    stays = staying(work)
    for node in work.graph.nodes:
        if node.op != "Gemm" or node.domain or node.name in stays:
            continue
        bias = given(node, 2)
        if node.attrs:
            yield f"{node.name} has attributes {dict(node.attrs)}"
        elif bias is None or len(static_shape(bias) or ()) != 1:
            yield f"{node.name} has no bias vector"


def normalizations(work: Work) -> Iterator[str]:
    stays = staying(work)
    for node in work.graph.nodes:
        if node.op == "BatchNormalization" and node.name not in stays:
            yield f"{node.name} is one"


def vague_pools(work: Work) -> Iterator[str]:
    stays = staying(work)
    for node in work.graph.nodes:
        if node.op in ("MaxPool", "AveragePool") and not node.domain and node.name not in stays:
            vague = [name for name in ("auto_pad", "ceil_mode") if node.attrs.get(name)]
            if vague or "pads" not in node.attrs:
                yield f"{node.name} has {vague or 'no pads'}"


def open_clamps(work: Work) -> Iterator[str]:
    """Of constants: a bound that is computed stays."""
    for node in work.graph.nodes:
        if node.op != "Clip" or node.domain or node.inputs[0].dtype != np.float32:
            continue
        bounds = [given(node, place) for place in (1, 2)]
        if any(isinstance(one, gs.Variable) for one in bounds):
            continue
        if any(one is None or scalar(one) is None for one in bounds):
            yield f"{node.name} leaves a bound out"


def spelled_operators(work: Work) -> Iterator[str]:
    for node in work.graph.nodes:
        if node.op in SPELLED and not node.domain:
            yield f"{node.name} is a {node.op}"
        if node.op in ("Max", "Min") and len(node.inputs) > 2:
            yield f"{node.name} has {len(node.inputs)} operands"


def computed_reshapes(work: Work) -> Iterator[str]:
    for node in work.graph.nodes:
        if node.op in SHAPE_OPERATORS and not node.domain:
            yield f"{node.name} is a {node.op}"
        if node.op == "Reshape" and (shape := integers(node.inputs[1])) is None:
            yield f"{node.name} computes its shape, {shape}"


def still_transposes(work: Work) -> Iterator[str]:
    for node in work.graph.nodes:
        shape = static_shape(node.inputs[0]) if node.op == "Transpose" else None
        if shape is not None and "perm" in node.attrs:
            moved = [axis for axis in node.attrs["perm"] if shape[axis] > 1]
            if moved == sorted(moved):
                yield f"{node.name} moves nothing"


def staying(work: Work) -> set[str]:
    """The nodes that a note lets stay."""
    return {note.node for note in work.notes if note.kind == "stays"}


PROMISES = (
    Condition(f"opset {OPSET} or newer", old_opset),
    STATIC_SHAPES,
    UNIQUE_NAMES,
    PLAIN_NODES,
    MADE_OUTPUTS,
    Condition("Identity only before outputs", idle_identities),
    Condition("convolutions with a bias, explicit pads and all attributes of their window", brief_convolutions),
    Condition("Gemm without attributes and with a bias vector", attributed_products),
    Condition("no BatchNormalization", normalizations),
    Condition("pools with explicit pads", vague_pools),
    Condition("a Clip with both bounds", open_clamps),
    Condition("no operator that has another spelling", spelled_operators),
    Condition("changes of shape as Reshape to a constant shape", computed_reshapes),
    Condition("Transposes that move something", still_transposes),
)
