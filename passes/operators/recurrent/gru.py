"""GRU, one direction, as one integer operator with a loop over time (`bevel.calib.arithmetic.recurrent`)."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.gru import Gru as GruKernel
from bevel.calib.arithmetic.float_cell import FloatCell
from bevel.calib.arithmetic.recurrent import GruNumbers, gru_numbers, lines_of
from bevel.passes.operators.base import Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.recurrent.bodies import gru
from bevel.passes.operators.recurrent.integers import (
    Reads,
    common_attributes,
    curves_of,
    sums_of,
    weights_of,
    with_halves,
    written,
)
from bevel.passes.operators.recurrent.recurrent import LoweredLoop, Recurrent

FORMS = {before: gru(before) for before in (False, True)}


class Gru(Recurrent):
    op: ClassVar = "GRU"
    gates: ClassVar = (0, 0, 1)  # functions of z, r and g
    float_ops: ClassVar = frozenset({"GRU"})
    functions: ClassVar = tuple(FORMS.values())

    def looped(self, site: Site, cell: FloatCell, reads: Reads) -> list[gs.Node] | Reason:
        sums = sums_of(reads, cell, inner=cell.before)
        curves = {
            "gate": lines_of(cell.functions[0], reads.gate_steps[0]),
            "candidate": lines_of(cell.functions[1], reads.gate_steps[-1]),
        }
        numbers = gru_numbers(sums.shift, curves["gate"].scale, curves["candidate"].scale, reads.states[0].scale)
        parts = {"parts": [2 * cell.hidden, cell.hidden]}
        attrs = common_attributes(cell, sums) | parts | with_halves(numbers._asdict())
        inner = [site.constant("inner", sums.inner)] if cell.before else []
        inputs = [reads.x.tensor, reads.states[0].tensor, *weights_of(site, reads, sums), *inner]
        constants, more = curves_of(site, curves)
        return written(site, FORMS[cell.before], [*inputs, *constants], attrs | more, reads)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        made, before = LoweredLoop(node, 1, lowering), node.op == FORMS[True].name
        numbers, (gate, candidate) = made.numbers(GruNumbers), made.curves("gate", "candidate")
        made.emit(GruKernel(made.walk, made.answer, node.attrs["shift"], numbers, gate, candidate, before))
