"""What LSTM, GRU and RNN share as operators: what they read and keep, and how their integer nodes become calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.recurrence import Answer, Curve, Walk
from bevel.calib.arithmetic.float_cell import STATES, FloatCell
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.observe.statistics import Statistics
from bevel.passes.canonicalize.unify_recurrent import INITIAL
from bevel.passes.graph.edit import given
from bevel.passes.graph.quantizers import constant_source
from bevel.passes.operators.base import Match, Operator, Reason, Site, State
from bevel.passes.operators.lowering import Lowering, onnx_order
from bevel.passes.operators.recurrent.form import cell_of, needed_clip, states_of, unbounded
from bevel.passes.operators.recurrent.integers import Reads, reads_of
from bevel.passes.operators.widths import dtype_of, stored_dtype

SUMS = {6: "int32", 7: "int64"}


class Recurrent(Operator):
    """One direction of one ONNX operator, `op`. gates: for each of its gates, which of the functions it has."""

    op: ClassVar[str]
    gates: ClassVar[tuple[int, ...]]
    limits: ClassVar = "constant weights; without sequence_lens"
    linear: ClassVar = False
    joint: ClassVar = True
    wide_codes: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        if node.op != self.op:
            return None
        cell = cell_of(node)
        if isinstance(cell, Reason):
            return cell
        initial = [given(node, INITIAL + place) for place in range(STATES[self.op])]
        if any(one is None for one in initial):
            return Reason("its initial states were not rewritten")
        return Match(node, (*node.inputs[:3], *(one for one in initial if one is not None)))

    def weight_axis(self, match: Match, index: int) -> int | None:
        return 1 if index in (1, 2) else None

    def states(self, match: Match) -> tuple[State, ...]:
        return states_of(match.node, known(match.node))

    def attributes(self, match: Match, statistics: Mapping[str, Statistics]) -> dict[str, Any]:
        """A clip, where nothing else says in what range the functions of gates are needed."""
        cell = known(match.node)
        if not unbounded(cell):
            return {}
        return {"clip": needed_clip(match.node, cell, statistics[match.inputs[0].name])}

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        cell = known(site.node)
        reads = reads_of(site, cell, self.gates)
        return reads if isinstance(reads, Reason) else self.looped(site, cell, reads)

    @abstractmethod
    def looped(self, site: Site, cell: FloatCell, reads: Reads) -> list[gs.Node] | Reason:
        """The call of one of the operator's functions, and what goes with it."""


def known(node: gs.Node) -> FloatCell:
    """The cell of a node that matched."""
    found = cell_of(node)
    if isinstance(found, Reason):
        raise ValueError(f"{node.name}: {found}")
    return found


class LoweredLoop:
    """A call of one of the functions, as what its operator on devices is made of."""

    def __init__(self, node: gs.Node, states: int, lowering: Lowering) -> None:
        self.node, self.lowering = node, lowering
        self.x, *self.initial = node.inputs[: 1 + states]
        self.arrays = {
            name: lowering.constant(tensor)
            for name, tensor in zip(NAMES, node.inputs[1 + states : 6 + states], strict=True)
        }
        self.rest = [lowering.constant(tensor) for tensor in node.inputs[6 + states :]]

    @property
    def walk(self) -> Walk:
        steps, batch, inputs = self.x.shape
        return Walk(
            steps,
            batch,
            inputs,
            self.arrays["r"].shape[1],
            bool(self.node.attrs["direction"][0]),
            self.given,
            dtype_of(self.x),
            str(self.arrays["w"].dtype),
            str(self.arrays["r"].dtype),
            SUMS[self.node.attrs["sum_type"]],
        )

    @property
    def given(self) -> bool:
        """Whether initial states are anything but zeros."""
        sources = [constant_source(tensor) for tensor in self.initial]
        return any(one is None or np.any(one.values) for one in sources)

    @property
    def answer(self) -> Answer | None:
        attrs = self.node.attrs
        if self.node.outputs[0].is_empty():
            return None
        output = Output(attrs["y_zero_point"], attrs["y_low"], attrs["y_high"], stored_dtype(self.node))
        return Answer(attrs["multiplier"], attrs["y_shift"], output)

    def numbers(self, kind: Any) -> Any:
        """The node's attributes as `kind` names them; 0 where it has none."""
        return kind(*(int(self.node.attrs.get(name, 0)) for name in kind._fields))

    def curves(self, *names: str) -> list[Curve]:
        """Of its functions, whose blocks and ends are the last constants."""
        attrs, ends = self.node.attrs, self.rest[-2 * len(names) :][1::2]
        return [
            Curve(attrs[f"{name}_block"], attrs[f"{name}_fraction"], len(one))
            for name, one in zip(names, ends, strict=True)
        ]

    def emit(self, kernel: Any) -> None:
        names = [self.x, *(self.initial if self.given else ())]
        inputs = [self.lowering.read(tensor, onnx_order(len(tensor.shape))) for tensor in names]
        outputs = self.node.outputs if kernel.answer is not None else self.node.outputs[1:]
        orders = [(one, onnx_order(0 if one.is_empty() else len(one.shape))) for one in outputs]
        self.lowering.emit_all(self.node, kernel, inputs, [*self.arrays.values(), *self.rest], orders)


NAMES = ("w", "r", "w_factor", "r_factor", "bias")
