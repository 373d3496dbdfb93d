"""RNN in integers (`bevel.calib.arithmetic.recurrent`): h' = f(W x + R h + b), with int16 state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bevel.backends.program.op import Array
from bevel.backends.program.recurrence import Curve, Recurrence, example_lines, walks
from bevel.calib.arithmetic.recurrent import Lines, saturate


@dataclass(frozen=True)
class Rnn(Recurrence):
    of_candidate: Curve

    @property
    def gates(self) -> int:
        return 1

    @property
    def states(self) -> tuple[str, ...]:
        return ("h",)

    def curves(self) -> dict[str, Curve]:
        return {"candidate": self.of_candidate}

    def step(
        self, of_x: Array, kept: Sequence[Array], given: dict[str, Array], lines: Sequence[Lines]
    ) -> Sequence[Array]:
        inputs = self.gate_inputs(of_x, kept[0] @ given["r"].astype("int64").T, given)
        return (lines[0](saturate(inputs >> self.shift)),)


def cases() -> Iterable[Rnn]:
    _, of_candidate, _ = example_lines()
    for walk, answer in walks():
        yield Rnn(walk, answer, 30, of_candidate)
