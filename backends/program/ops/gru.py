"""GRU in integers (`bevel.calib.arithmetic.recurrent`), with int16 state; gates in ONNX's order z, r, h."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bevel.backends.program.op import Array, Operand, constant, scratch
from bevel.backends.program.recurrence import Curve, Recurrence, example_lines, walks
from bevel.calib.arithmetic.recurrent import GruNumbers, Lines, gru_state, inner_sum, reset_state, saturate


@dataclass(frozen=True)
class Gru(Recurrence):
    """before: whether R h of a candidate is made, with a bias int64 [hidden] of its own, before the reset gate takes
    its share (ONNX's linear_before_reset), and not of the share."""

    numbers: GruNumbers
    of_gate: Curve
    of_candidate: Curve
    before: bool = False

    @property
    def gates(self) -> int:
        return 3

    @property
    def states(self) -> tuple[str, ...]:
        return ("h",)

    def curves(self) -> dict[str, Curve]:
        return {"gate": self.of_gate, "candidate": self.of_candidate}

    def more_constants(self) -> tuple[Operand, ...]:
        return (constant("inner", (self.walk.hidden,), "int64"),) if self.before else ()

    def more_scratch(self) -> tuple[Operand, ...]:
        """The share of the state that the reset gate leaves, or else the gates' results."""
        return (scratch("share", (2, self.walk.hidden), "int16"),)

    def step(
        self, of_x: Array, kept: Sequence[Array], given: dict[str, Array], lines: Sequence[Lines]
    ) -> Sequence[Array]:
        (h,), numbers, hidden, wide = kept, self.numbers, self.walk.hidden, given["r"].astype(np.int64)
        both, last = slice(0, 2 * hidden), slice(2 * hidden, None)
        of_gate, of_candidate = lines
        gates = self.gate_inputs(of_x, h @ wide[both].T, given, both)
        z, r = np.split(of_gate(saturate(gates >> numbers.shift)), 2, axis=-1)
        if self.before:
            inner = (h @ wide[last].T) * given["r_factor"][last].astype(np.int64) + given["inner"]
            of_h = reset_state(r, inner_sum(inner, numbers), numbers)
            outer = of_x[..., last] * given["w_factor"][last].astype(np.int64) + given["bias"][last]
            entering = saturate(inner_sum(outer, numbers) + of_h)
        else:
            share = saturate(reset_state(r, h, numbers))
            entering = saturate(self.gate_inputs(of_x, share @ wide[last].T, given, last) >> numbers.shift)
        return (gru_state(z, of_candidate(entering), h, numbers),)


def cases() -> Iterable[Gru]:
    numbers = GruNumbers(30, 1 << 24, 1 << 24, 39, 1 << 20, 35, 2**15)
    of_gate, of_candidate, _ = example_lines()
    for before in (False, True):
        for walk, answer in walks():
            yield Gru(walk, answer, 30, numbers, of_gate, of_candidate, before)
