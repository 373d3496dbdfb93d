"""Quantizers behind what only moves integers, where a model has none there.

Q and DQ are the identity on values that come out of the same DQ: move(DQ(q)) == DQ(Q(move(DQ(q)))), bit for bit.
Training frameworks quantize a tensor where it is computed and read it through MaxPool, Reshape or Concat as it is; the
operator behind those shall still find its input quantized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Stage, Work
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import is_dequantize, is_quantize, parameters
from bevel.passes.operators import find_operator
from bevel.passes.operators.base import Reason
from bevel.passes.operators.formats.quantize_float import QUANTIZE_FLOAT


@dataclass(frozen=True)
class CarryQuantizers(Pass):
    """Tensors that only quantizers read are left alone, and those within an operator of several nodes."""

    name: ClassVar[str] = "carry-quantizers"
    stage: ClassVar[Stage] = "integerize"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        modified, parts = False, parts_of_operators(work.graph)
        for node in list(work.graph.toposort().nodes):
            source = None if id(node) in parts else quantization(node)
            if source is not None and not (node.outputs[0].outputs and all(map(is_quantize, node.outputs[0].outputs))):
                carry(work.graph, node, source)
                modified = True
        return work.result(modified)


def parts_of_operators(graph: gs.Graph) -> set[int]:
    """The nodes, by identity, that are part of an operator that ends behind them."""
    found = [find_operator(node) for node in graph.nodes if not is_quantize(node) and not is_dequantize(node)]
    taken = [one for one in found if not isinstance(one, Reason)]
    return {id(part) for operator, match in taken for part in operator.covers(match)}


def is_carried(dequantize: gs.Node) -> bool:
    """Whether a quantizer and this DequantizeLinear behind it stand where `CarryQuantizers` would put them."""
    quantize = producer(dequantize.inputs[0])
    mover = producer(quantize.inputs[0]) if quantize is not None and is_quantize(quantize) else None
    source = quantization(mover) if mover is not None else None
    return (
        quantize is not None
        and source is not None
        and parameters(quantize) is not None
        and identity(source) == identity(quantize) == identity(dequantize)
    )


def quantization(node: gs.Node) -> gs.Node | None:
    """A DequantizeLinear whose scale all inputs of a moving `node` share; None where there is none, or no such node."""
    if is_quantize(node) or is_dequantize(node):
        return None
    match find_operator(node):
        case Reason():
            return None
        case (operator, match):
            if not operator.moves(match) or len(node.outputs) != 1:
                return None
    makers = [producer(tensor) for tensor in operator.tied(match)]
    if not makers or any(maker is None or not dequantizes_activation(maker) for maker in makers):
        return None
    return makers[0] if len({identity(maker) for maker in makers if maker is not None}) == 1 else None


def dequantizes_activation(node: gs.Node) -> bool:
    return is_dequantize(node) and isinstance(node.inputs[0], gs.Variable) and parameters(node) is not None


def identity(quantizer: gs.Node) -> tuple[bytes, bytes, str]:
    """What two quantizers of the same integers have in common."""
    found = parameters(quantizer)
    if found is None:
        raise TypeError(f"{quantizer.name} computes its scale")
    return found.scale.tobytes(), found.zero_point.tobytes(), str(found.zero_point.dtype)


def carry(graph: gs.Graph, node: gs.Node, source: gs.Node) -> None:
    """Let `node`'s readers, but for quantizers, read its result through the quantizer of `source`."""
    result = node.outputs[0]
    moved = gs.Variable(f"{result.name}/moved", np.float32, result.shape)
    others = [one for one in result.outputs if is_quantize(one)]
    for reader in others:
        reader.inputs[0] = moved
    node.outputs = [moved]
    stem = f"{result.name}/carried" if others else result.name  # the result's own quantizer has the name
    codes = gs.Variable(f"{stem}/quantized", source.inputs[0].dtype, result.shape)
    graph.nodes.append(quantizer_like(source, f"{stem}/quantize", moved, codes))
    attrs = dict(source.attrs)
    graph.nodes.append(gs.Node("DequantizeLinear", f"{stem}/dequantize", attrs, [codes, *source.inputs[1:]], [result]))
    graph.toposort()


def quantizer_like(source: gs.Node, name: str, x: gs.Tensor, codes: gs.Tensor) -> gs.Node:
    """From x to codes that a DequantizeLinear reads as x; steps of a minifloat have a quantizer of theirs."""
    maker = producer(source.inputs[0])
    if maker is not None and maker.op == QUANTIZE_FLOAT.name:
        return gs.Node(maker.op, name, dict(maker.attrs), [x, *maker.inputs[1:]], [codes], domain=maker.domain)
    return gs.Node("QuantizeLinear", name, {}, [x, *source.inputs[1:]], [codes])
