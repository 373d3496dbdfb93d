"""The loops of `Lstm`: `bevel.backends.program.ops.lstm`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import Op
from bevel.backends.program.ops.lstm import Lstm
from bevel.backends.tir import recurrent as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.recurrent import Products

# Gates, in the order of their rows; the cell; what its function makes of it
OPEN, SHOW, KEEP, CANDIDATE, CELL, SHOWN = range(6)


def build(op: Lstm, name: str) -> Any:
    return loops(op, op, name, tir.products(op))


def loops(op: Lstm, kernel: Op, name: str, products: Products) -> Any:
    """Of a `kernel` that computes `op` by `products` of its own."""
    hidden, of_h = op.walk.hidden, products.of_h(0, op.rows)
    answer, unit_of = tir.answered(op), updated(op)

    @T.macro
    def step(parts, time, one):
        of_h(parts.H, parts.R, parts.S, time, one)
        for unit in T.serial(hidden):
            unit_of(parts, one, unit)
            answer(parts.Y, time, one, unit, T.cast(parts.H[one, unit], "int32"))

    return tir.loops(op, kernel, name, products.of_x, step, (4 * SHOWN, SHOWN + 1))


def updated(op: Lstm) -> Any:
    """A macro: cell and state of a unit, from the sums of a step."""
    numbers, hidden = op.numbers, op.walk.hidden
    shift, one_, peepholes = numbers.shift, numbers.one, op.peepholes
    of_gate, of_candidate, of_cell = (tir.on_curve(one) for one in (op.of_gate, op.of_candidate, op.of_cell))

    def peeped(P: Any, row: int, unit: Any, cell: Any) -> Any:
        return T.cast(cell, "int64") * P[row, unit] if peepholes else T.int64(0)

    def product(a: Any, b: Any, factor: int) -> Any:
        return T.cast(a * b, "int64") * T.int64(factor)

    def gate(S: Any, place: int, unit: Any, numbers: Any) -> Any:
        return tir.entering(S, place * hidden + unit, *numbers)

    def share(E: Any) -> Any:
        """That of the cell which stays, which a small i leaves more than int32 of."""
        return T.cast(E[KEEP], "int64") if one_ == 0 else T.int64(one_) - T.cast(E[OPEN], "int64")

    @T.macro
    def update(parts, one, unit):
        S, P, H, C, V, E = T.meta_var((parts.S, parts.P, parts.H, parts.C, parts.V, parts.E))
        rows, lines = T.meta_var(((parts.WF, parts.RF, parts.B), (parts.GB, parts.GE)))
        V[4 * OPEN] = tir.saturated(gate(S, OPEN, unit, rows) + peeped(P, 0, unit, C[one, unit]), shift)
        of_gate(V, OPEN, *lines, E, OPEN)
        if one_ == 0:
            V[4 * KEEP] = tir.saturated(gate(S, KEEP, unit, rows) + peeped(P, 2, unit, C[one, unit]), shift)
            of_gate(V, KEEP, *lines, E, KEEP)
        V[4 * CANDIDATE] = tir.saturated(gate(S, CANDIDATE, unit, rows), shift)
        of_candidate(V, CANDIDATE, parts.AB, parts.AE, E, CANDIDATE)
        kept = T.meta_var(share(E) * T.cast(C[one, unit], "int64") * T.int64(numbers.keep))
        E[CELL] = tir.rounded(kept + product(E[OPEN], E[CANDIDATE], numbers.add), numbers.cell_shift)
        C[one, unit] = T.cast(E[CELL], "int16")
        V[4 * SHOW] = tir.saturated(gate(S, SHOW, unit, rows) + peeped(P, 1, unit, E[CELL]), shift)
        of_gate(V, SHOW, *lines, E, SHOW)
        V[4 * CELL] = E[CELL]
        of_cell(V, CELL, parts.CB, parts.CE, E, SHOWN)
        H[one, unit] = T.cast(tir.rounded(product(E[SHOW], E[SHOWN], numbers.show), numbers.show_shift), "int16")

    return update
