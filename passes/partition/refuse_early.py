"""Refuse what a target of integers cannot run before minutes are spent on calibrating it."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from bevel.backends.program.island import Importer
from bevel.calib.errors import UserError
from bevel.passes.operators.base import NoKernel
from bevel.passes.partition.partition import MOVES
from bevel.passes.partition.refuse_floats import reasons_of, refusal
from bevel.passes.quantize.plan import make_plan


def refuse_early(graph: gs.Graph, importer: Importer) -> None:
    """Raises UserError, as `partition` would in the end, where nodes of a canonical float graph have no integer kernel
    whatever the data are."""
    reasons = reasons_of(make_plan(graph).notes)
    floats = [node for node in graph.nodes if node.op not in MOVES and isinstance(reasons.get(node.name), NoKernel)]
    if floats:
        raise UserError(refusal(graph, floats, reasons, importer))
