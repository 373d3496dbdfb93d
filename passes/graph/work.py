"""How much a node computes, for those who bound what they try: no clock, so that choices repeat."""

from __future__ import annotations

from math import prod

import onnx_graphsurgeon as gs


def multiplications_of(node: gs.Node) -> int:
    """Of a product in one run."""
    if node.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    outputs, weights = (tuple(map(int, one.shape)) for one in (node.outputs[0], node.inputs[1]))
    if node.op in ("Gemm", "MatMul"):
        return prod(outputs) * (weights[-2] if len(weights) > 1 else weights[-1])
    spread_over = tuple(map(int, node.inputs[0].shape)) if node.op == "ConvTranspose" else outputs
    return prod(spread_over) * prod(weights[1:])
