"""Shares of attention as powers of two: four bits each, and a product by them is shifts and additions.

A Softmax whose result nothing but products of activations reads gets the format of
`bevel.calib.arithmetic.power_softmax`. Source: Lin et al. 2022, "FQ-ViT: Post-Training Quantization for Fully Quantized
Vision Transformer", section 3.3. Price: powers of two leave 14 dB of shares whose logarithms are spread evenly, where
int8 leaves 29 to 43 of those of vision transformers; so a recipe asks for them, and nothing tries them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.power_softmax import FORMAT
from bevel.passes.base import Condition, Pass, PassResult, Stage, Work
from bevel.passes.conditions import FLOAT
from bevel.passes.quantize.chosen import NodeFormat

MOVES = frozenset({"Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class LogShares(Pass):
    """The graph stays as it is; `schemes` have the format for more nodes."""

    name: ClassVar[str] = "log-shares"
    stage: ClassVar[Stage] = "assign"
    follows: ClassVar[tuple[str, ...]] = ("assign-schemes",)
    requires: ClassVar[tuple[Condition, ...]] = (FLOAT,)

    def call(self, work: Work) -> PassResult:
        nodes, notes = dict(work.schemes.nodes), []
        ports = {tensor.name for tensor in work.graph.outputs}
        for node in work.graph.nodes:
            if node.op != "Softmax":
                continue
            if (why := why_not(node.outputs[0], ports)) is not None:
                notes.append(self.note(node.name, "stays", f"its shares are no powers of two: {why}"))
                continue
            nodes[node.name] = replace(nodes.get(node.name, NodeFormat()), activations=FORMAT)
            text = "its shares are powers of two, in codes of four bits: products by them are shifts"
            notes.append(self.note(node.name, "chosen", text))
        return work.result(False, notes, schemes=replace(work.schemes, nodes=nodes))


def why_not(shares: gs.Variable, ports: set[str]) -> str | None:
    """Why they stay as they are; None where products of activations alone read them."""
    if shares.name in ports:
        return "they leave the model"
    for reader in shares.outputs:
        if reader.op in MOVES:
            if (why := why_not(reader.outputs[0], ports)) is not None:
                return why
        elif reader.op != "MatMul" or any(isinstance(one, gs.Constant) for one in reader.inputs):
            return f"{reader.op} {reader.name} reads them"
    return None
