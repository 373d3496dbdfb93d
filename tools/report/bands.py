"""What the report says of nodes that run in bands of rows."""

from __future__ import annotations

from bevel.backends.program.fit import Fit
from bevel.backends.program.program import Program
from bevel.passes.base import Note


def describe(program: Program, found: Fit) -> list[Note]:
    """A note on each node that runs in bands."""
    notes = []
    for chain in found.chains:
        nodes = [call.node for call in program.calls[chain.first : chain.last + 1]]
        together = f"with {nodes[0]} to {nodes[-1]}, " if len(nodes) > 1 else ""
        text = f"to save RAM, runs in bands of rows, {together}{chain.rows} of the last result's at a time"
        notes += [Note("fit", node, "chosen", text, {"rows": chain.rows}) for node in nodes]
    return notes
