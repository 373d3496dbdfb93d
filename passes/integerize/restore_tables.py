"""Look-ups of int8 codes that a model spells in standard operators, or that opening its functions left, as `Table`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Pass, PassResult, Stage, Work
from bevel.passes.graph.edit import detach, producer
from bevel.passes.operators.base import DOMAIN

ENTRIES = 256


@dataclass(frozen=True)
class RestoreTables(Pass):
    """Gather(table, Cast(x)) of 256 int8 entries and int8 x becomes Table(x, table)."""

    name: ClassVar[str] = "restore-tables"
    stage: ClassVar[Stage] = "integerize"

    def call(self, work: Work) -> PassResult:
        found = [(node, codes) for node in work.graph.nodes if (codes := looked_up(node)) is not None]
        for node, codes in found:
            (table, _), (result,) = node.inputs, node.outputs
            detach(node)
            work.graph.nodes.append(gs.Node("Table", node.name, {}, [codes, table], [result], domain=DOMAIN))
        return work.result(bool(found))


def looked_up(node: gs.Node) -> gs.Tensor | None:
    """The int8 tensor whose codes a Gather looks up, or None."""
    if node.op != "Gather" or node.attrs.get("axis", 0) or not isinstance(node.inputs[0], gs.Constant):
        return None
    table, index = node.inputs
    cast = producer(index)
    if table.values.dtype != np.int8 or table.values.shape != (ENTRIES,) or cast is None or cast.op != "Cast":
        return None
    codes = cast.inputs[0]
    return codes if codes.dtype == np.int8 else None
