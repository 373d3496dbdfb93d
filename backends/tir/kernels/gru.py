"""The loops of `Gru`: `bevel.backends.program.ops.gru`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import Op
from bevel.backends.program.ops.gru import Gru
from bevel.backends.tir import recurrent as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.recurrent import Products
from bevel.calib.arithmetic.recurrent import WITHIN

Z, R_, G = range(3)  # gates, in the order of their rows
INNER, OUTER = 12, 13  # behind what their curves need


def build(op: Gru, name: str) -> Any:
    return loops(op, op, name, tir.products(op))


def loops(op: Gru, kernel: Op, name: str, products: Products) -> Any:
    """Of a `kernel` that computes `op` by `products` of its own."""
    hidden, rows, before = op.walk.hidden, op.rows, op.before
    first = products.of_h(0, rows if before else 2 * hidden)
    of_share = first if before else products.of_h(2 * hidden, rows)
    answer, gates, candidate = tir.answered(op), opened(op), updated(op)

    @T.macro
    def step(parts, time, one):
        first(parts.H, parts.R, parts.S, time, one)
        for unit in T.serial(hidden):
            gates(parts, one, unit)
        if not before:
            of_share(parts.Q, parts.R, parts.S, time, R_)
        for unit in T.serial(hidden):
            candidate(parts, one, unit)
            answer(parts.Y, time, one, unit, T.cast(parts.H[one, unit], "int32"))

    return tir.loops(op, kernel, name, products.of_x, step, (14, 3))


def opened(op: Gru) -> Any:
    """A macro: z of a unit, and r, or the share of the state that it leaves."""
    numbers, hidden, before = op.numbers, op.walk.hidden, op.before
    line = tir.on_curve(op.of_gate)

    @T.macro
    def gates(parts, one, unit):
        S, H, Q, V, E = T.meta_var((parts.S, parts.H, parts.Q, parts.V, parts.E))
        numbers_of, curve = T.meta_var(((parts.WF, parts.RF, parts.B), (parts.GB, parts.GE)))
        V[4 * Z] = tir.saturated(tir.entering(S, unit, *numbers_of), numbers.shift)
        line(V, Z, *curve, E, Z)
        Q[Z, unit] = T.cast(E[Z], "int16")
        V[4 * R_] = tir.saturated(tir.entering(S, hidden + unit, *numbers_of), numbers.shift)
        line(V, R_, *curve, E, R_)
        if before:
            Q[R_, unit] = T.cast(E[R_], "int16")
        else:
            wide = T.meta_var(T.cast(E[R_], "int64") * T.cast(H[one, unit], "int64") * T.int64(numbers.reset))
            Q[R_, unit] = T.cast(tir.rounded(wide, numbers.reset_shift), "int16")

    return gates


def updated(op: Gru) -> Any:
    """A macro: the state of a unit, from the sums of a step and what `opened` made."""
    numbers, hidden, before = op.numbers, op.walk.hidden, op.before
    line = tir.on_curve(op.of_candidate)

    def inner(value: Any) -> Any:
        held = T.max(T.min(value >> T.int64(numbers.shift), T.int64(WITHIN - 1)), T.int64(-WITHIN))
        return T.cast(held, "int32")

    @T.macro
    def update(parts, one, unit):
        S, H, Q, V, E, WF, B = T.meta_var((parts.S, parts.H, parts.Q, parts.V, parts.E, parts.WF, parts.B))
        row = T.meta_var(2 * hidden + unit)
        if before:
            V[INNER] = inner(tir.of_row(S, 1, row, parts.RF) + parts.N[unit])
            V[OUTER] = inner(tir.of_row(S, 0, row, WF) + B[row])
            wide = T.meta_var(T.cast(Q[R_, unit], "int64") * T.cast(V[INNER], "int64") * T.int64(numbers.reset))
            half = T.meta_var(T.int64(1 << (numbers.reset_shift - 1)))
            V[4 * G] = tir.saturated(T.cast(V[OUTER], "int64") + ((wide + half) >> T.int64(numbers.reset_shift)), 0)
        else:
            V[4 * G] = tir.saturated(tir.entering(S, row, WF, parts.RF, B), numbers.shift)
        line(V, G, parts.AB, parts.AE, E, G)
        left = T.meta_var(T.cast(numbers.one - T.cast(Q[Z, unit], "int32"), "int64"))
        added = T.meta_var(left * T.cast(E[G], "int64") * T.int64(numbers.add))
        kept = T.meta_var(T.cast(Q[Z, unit], "int64") * T.cast(H[one, unit], "int64") * T.int64(numbers.keep))
        H[one, unit] = T.cast(tir.rounded(added + kept, numbers.state_shift), "int16")

    return update
