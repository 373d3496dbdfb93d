"""LSTM, one direction, as one integer operator with a loop over time (`bevel.calib.arithmetic.recurrent`)."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.lstm import Lstm as LstmKernel
from bevel.calib.arithmetic.float_cell import FloatCell
from bevel.calib.arithmetic.recurrent import LstmNumbers, Worths, lines_of, lstm_numbers
from bevel.passes.operators.base import Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.recurrent.bodies import lstm
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

FORMS = {(peepholes, coupled): lstm(peepholes, coupled) for peepholes in (False, True) for coupled in (False, True)}


class Lstm(Recurrent):
    op: ClassVar = "LSTM"
    gates: ClassVar = (0, 0, 0, 1)  # functions of i, o, f and g
    float_ops: ClassVar = frozenset({"LSTM"})
    functions: ClassVar = tuple(FORMS.values())

    def looped(self, site: Site, cell: FloatCell, reads: Reads) -> list[gs.Node] | Reason:
        sums = sums_of(reads, cell, inner=False)
        gate_steps = reads.gate_steps[0], reads.gate_steps[-1]
        h, c = (one.scale for one in reads.states)
        curves = {
            "gate": lines_of(cell.functions[0], gate_steps[0]),
            "candidate": lines_of(cell.functions[1], gate_steps[1]),
            "cell": lines_of(cell.functions[2], c),
        }
        steps = Worths(curves["gate"].scale, curves["candidate"].scale, curves["cell"].scale, c, h)
        numbers = lstm_numbers(sums.shift, steps, cell.coupled)
        attrs = common_attributes(cell, sums) | with_halves(numbers._asdict())
        if not cell.coupled:
            del attrs["one"]
        peephole = [site.constant("peephole", sums.peephole.reshape(3, -1))] if cell.p.size else []
        inputs = [reads.x.tensor, *(one.tensor for one in reads.states), *weights_of(site, reads, sums), *peephole]
        constants, more = curves_of(site, curves)
        return written(site, FORMS[bool(cell.p.size), cell.coupled], [*inputs, *constants], attrs | more, reads)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        made = LoweredLoop(node, 2, lowering)
        peepholes = any(form.name == node.op for (with_peepholes, _), form in FORMS.items() if with_peepholes)
        numbers, (gate, candidate, cell) = made.numbers(LstmNumbers), made.curves("gate", "candidate", "cell")
        made.emit(LstmKernel(made.walk, made.answer, node.attrs["shift"], numbers, gate, candidate, cell, peepholes))
