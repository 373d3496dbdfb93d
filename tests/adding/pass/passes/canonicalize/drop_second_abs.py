"""Abs of Abs is Abs: ||x|| == |x|. Exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bevel.passes.base import Pass, PassResult, Work
from bevel.passes.graph.edit import alive, bypass, producer


@dataclass(frozen=True)
class DropSecondAbs(Pass):
    name: ClassVar[str] = "drop-second-abs"

    def call(self, work: Work) -> PassResult:
        notes = []
        for node in alive(work.graph):
            maker = producer(node.inputs[0]) if node.op == "Abs" else None
            if maker is not None and maker.op == "Abs" and bypass(work.graph, node, node.inputs[0]) is None:
                notes.append(self.note(maker.name, "changed", f"{node.name} made no difference to it"))
        return work.result(bool(notes), notes)
