"""RNN, one direction, as one integer operator with a loop over time (`bevel.calib.arithmetic.recurrent`)."""

from __future__ import annotations

from typing import ClassVar

import onnx_graphsurgeon as gs

from bevel.backends.program.ops.rnn import Rnn as RnnKernel
from bevel.calib.arithmetic.float_cell import FloatCell
from bevel.calib.arithmetic.recurrent import lines_of
from bevel.passes.operators.base import Reason, Site
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.recurrent.bodies import rnn
from bevel.passes.operators.recurrent.integers import (
    Reads,
    common_attributes,
    curves_of,
    sums_of,
    weights_of,
    written,
)
from bevel.passes.operators.recurrent.recurrent import LoweredLoop, Recurrent

RNN = rnn()


class Rnn(Recurrent):
    op: ClassVar = "RNN"
    gates: ClassVar = (0,)
    float_ops: ClassVar = frozenset({"RNN"})
    functions: ClassVar = (RNN,)

    def looped(self, site: Site, cell: FloatCell, reads: Reads) -> list[gs.Node] | Reason:
        sums = sums_of(reads, cell, inner=False)
        (state,) = reads.states
        lines = lines_of(cell.functions[0], reads.gate_steps[0], state.scale)
        constants, more = curves_of(site, {"candidate": lines})
        inputs = [reads.x.tensor, state.tensor, *weights_of(site, reads, sums), *constants]
        return written(site, RNN, inputs, common_attributes(cell, sums) | more, reads)

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        made = LoweredLoop(node, 1, lowering)
        made.emit(RnnKernel(made.walk, made.answer, node.attrs["shift"], *made.curves("candidate")))
