"""How much work a network is before anything is made of it: by this it is known under any name."""

from __future__ import annotations

from math import prod
from pathlib import Path

import onnx_graphsurgeon as gs

from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.load import fix_batch, load_model


def network_macs(model: Path) -> int:
    """Multiply-accumulates of one inference of the float model, batch 1, in convolutions and matrix products."""
    graph, _ = canonicalize(fix_batch(load_model(model), 1, {}), ())
    return sum(map(node_macs, graph.nodes))


def node_macs(node: gs.Node) -> int:
    match node.op:
        case "Conv":
            return int(prod(node.outputs[0].shape) * prod(node.inputs[1].shape[1:]))
        case "ConvTranspose":
            return int(prod(node.inputs[0].shape) * prod(node.inputs[1].shape[1:]))
        case "Gemm" | "MatMul":
            transposed = node.op == "Gemm" and bool(node.attrs.get("transA", 0))
            return int(prod(node.outputs[0].shape) * node.inputs[0].shape[0 if transposed else -1])
        case _:
            return 0
