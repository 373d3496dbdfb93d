"""LSTM, GRU and RNN in float64, as ONNX defines them: what the integers stand for, and what observations run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.gate_functions import GateFunction
from bevel.calib.data.content import content

Floats = NDArray[np.float64]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}
RECURRENT = frozenset(GATES)


class Trace(NamedTuple):
    """What one run shows: y [steps, batch, hidden]; the states after the last step [batch, hidden]; the largest
    magnitude that each state had, initial ones included, and that went into the gates of each function."""

    y: Floats
    states: tuple[Floats, ...]
    reaches: tuple[float, ...]
    entering: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class FloatCell:
    """One direction of a node. w [gates * hidden, inputs], r [gates * hidden, hidden], b [2 * gates * hidden], p [3 *
    hidden] or none; initial: each state, constant [batch, hidden], or None where it is computed; functions: those of
    the node's `activations`; clip: what goes into gates is held to, infinite where nothing is said (the cell is not
    clipped, as onnxruntime has it); coupled: ONNX's input_forget; before: its linear_before_reset."""

    op: str
    w: NDArray[Any]
    r: NDArray[Any]
    b: NDArray[Any]
    p: NDArray[Any]
    functions: tuple[GateFunction, ...]
    initial: tuple[NDArray[Any] | None, ...] = ()
    clip: float = np.inf
    backward: bool = False
    coupled: bool = False
    before: bool = False
    key: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        arrays = (self.w, self.r, self.b, self.p, *self.initial)
        weights = tuple(None if one is None else content(np.ascontiguousarray(one)) for one in arrays)
        flags = (self.op, self.functions, self.clip, self.backward, self.coupled, self.before)
        object.__setattr__(self, "key", (*weights, *flags))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FloatCell) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def of(self, one: int) -> FloatCell:
        """The same of one of a batch."""
        return replace(self, initial=tuple(state if state is None else state[[one]] for state in self.initial))

    @property
    def hidden(self) -> int:
        return int(self.r.shape[1])

    @property
    def biases(self) -> tuple[Floats, Floats]:
        """Of x and of h, [rows]."""
        rows = len(self.w)
        wide = self.b.astype(np.float64)
        return wide[:rows], wide[rows:]

    def run(self, x: NDArray[Any], computed: Iterable[NDArray[Any]] = ()) -> Trace:
        """x [steps, batch, inputs]; computed: the initial states that are, [batch, hidden]. Without any, zeros."""
        zeros = np.zeros((x.shape[1], self.hidden))
        given = iter(computed)
        initial = [next(given) if one is None else one for one in self.initial] or [zeros] * STATES[self.op]
        kept = [one.astype(np.float64) for one in initial]
        of_x = x.astype(np.float64) @ self.w.astype(np.float64).T + self.biases[0]
        reaches = np.array([np.abs(one).max(initial=0.0) for one in kept])
        entering = np.zeros(len(self.functions))
        y = np.zeros((len(x), *zeros.shape))
        gate = self.gate(entering)
        step = STEPS[self.op]
        for time in range(len(x))[:: -1 if self.backward else 1]:
            kept = step(self, of_x[time], kept, gate)
            reaches = np.maximum(reaches, [np.abs(one).max(initial=0.0) for one in kept])
            y[time] = kept[0]
        return Trace(y, tuple(kept), tuple(map(float, reaches)), tuple(map(float, entering)))

    def gate(self, entering: Floats) -> Gate:
        """The node's functions of what is clipped; `entering` notes the largest magnitudes."""

        def apply(which: int, value: Floats) -> Floats:
            clipped = np.clip(value, -self.clip, self.clip)
            entering[which] = max(entering[which], float(np.abs(clipped).max(initial=0.0)))
            return self.functions[which](clipped)

        return apply


Gate = Callable[[int, Floats], Floats]


def lstm(cell: FloatCell, of_x: Floats, kept: Sequence[Floats], gate: Gate) -> list[Floats]:
    h, c = kept
    i, o, f, g = np.split(of_x + h @ cell.r.astype(np.float64).T + cell.biases[1], 4, axis=-1)
    pi, po, pf = np.split(cell.p.astype(np.float64), 3) if cell.p.size else np.zeros((3, 1))
    opened = gate(0, i + pi * c)
    kept_share = 1 - opened if cell.coupled else gate(0, f + pf * c)
    c = kept_share * c + opened * gate(1, g)
    return [gate(0, o + po * c) * cell.functions[2](c), c]


def gru(cell: FloatCell, of_x: Floats, kept: Sequence[Floats], gate: Gate) -> list[Floats]:
    (h,) = kept
    two, wide = 2 * cell.hidden, cell.r.astype(np.float64)
    bias = cell.biases[1]
    z, r = np.split(gate(0, of_x[:, :two] + h @ wide[:two].T + bias[:two]), 2, axis=-1)
    share = (r * h) @ wide[two:].T + bias[two:]
    inner = r * (h @ wide[two:].T + bias[two:]) if cell.before else share
    return [(1 - z) * gate(1, of_x[:, two:] + inner) + z * h]


def rnn(cell: FloatCell, of_x: Floats, kept: Sequence[Floats], gate: Gate) -> list[Floats]:
    return [gate(0, of_x + kept[0] @ cell.r.astype(np.float64).T + cell.biases[1])]


Step = Callable[[FloatCell, Floats, Sequence[Floats], Gate], list[Floats]]
STEPS: Mapping[str, Step] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
