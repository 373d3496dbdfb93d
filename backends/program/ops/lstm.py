"""LSTM in integers (`bevel.calib.arithmetic.recurrent`): int16 cell and state, gates in ONNX's order i, o, f, c."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bevel.backends.program.op import Array, Operand, constant
from bevel.backends.program.recurrence import Curve, Recurrence, example_lines, walks
from bevel.calib.arithmetic.recurrent import Lines, LstmNumbers, lstm_step


@dataclass(frozen=True)
class Lstm(Recurrence):
    """peepholes: whether a constant int64 [3, hidden] says how the cell goes into i, o and f."""

    numbers: LstmNumbers
    of_gate: Curve
    of_candidate: Curve
    of_cell: Curve
    peepholes: bool = False

    @property
    def gates(self) -> int:
        return 4

    @property
    def states(self) -> tuple[str, ...]:
        return "h", "c"

    def curves(self) -> dict[str, Curve]:
        return {"gate": self.of_gate, "candidate": self.of_candidate, "cell": self.of_cell}

    def more_constants(self) -> tuple[Operand, ...]:
        return (constant("peephole", (3, self.walk.hidden), "int64"),) if self.peepholes else ()

    def step(
        self, of_x: Array, kept: Sequence[Array], given: dict[str, Array], lines: Sequence[Lines]
    ) -> Sequence[Array]:
        inputs = self.gate_inputs(of_x, kept[0] @ given["r"].astype("int64").T, given)
        return lstm_step(inputs, kept[1], given.get("peephole"), self.numbers, lines)


def cases() -> Iterable[Lstm]:
    numbers = LstmNumbers(30, 1 << 24, 1 << 25, 39, 1 << 20, 35)
    of_gate, of_candidate, of_cell = example_lines()
    curves = of_gate, of_candidate, of_cell
    for walk, answer in walks():
        yield Lstm(walk, answer, 30, numbers, *curves)
    yield Lstm(walk, answer, 30, numbers._replace(one=2**15), *curves)
    yield Lstm(walk, answer, 30, numbers._replace(one=2**33, keep=1 << 6), *curves)
    yield Lstm(walk, None, 30, numbers, *curves, peepholes=True)
    yield Lstm(walk, answer, 30, numbers._replace(one=2**15), *curves, peepholes=True)
