"""Weights that several nodes read stand in the file once. Short constants keep a name for each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.calib.data.content import content
from bevel.passes.base import Pass, PassResult, Stage, Work


@dataclass(frozen=True)
class ShareConstants(Pass):
    """least_bytes: of the constants that are shared."""

    name: ClassVar[str] = "share-constants"
    stage: ClassVar[Stage] = "integerize"
    follows: ClassVar[tuple[str, ...]] = ("integerize", "prune-constant-channels")
    least_bytes: int = 256

    def call(self, work: Work) -> PassResult:
        first: dict[bytes, gs.Constant] = {}
        modified = False
        for node in work.graph.nodes:
            for place, tensor in enumerate(node.inputs):
                if not isinstance(tensor, gs.Constant) or tensor.values.nbytes < self.least_bytes:
                    continue
                known = first.setdefault(content(tensor.values), tensor)
                if known is not tensor:
                    node.inputs[place] = known
                    modified = True
        return work.result(modified)
