"""The loops of `Gru`: `bevel.backends.program.ops.gru`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import Op
from bevel.backends.program.ops.gru import Gru
from bevel.backends.tir import recurrent as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.recurrent import Products, Shapes
from bevel.calib.arithmetic.recurrent import WITHIN

NAMES = (
    *("x", "h0", "w", "r", "w_factor", "r_factor", "bias", "inner"),
    *("gate_blocks", "gate_ends", "candidate_blocks", "candidate_ends"),
    *("y", "h", "sums", "share"),
)
Z, R_, G = range(3)  # gates, in the order of their rows
INNER, OUTER = 12, 13  # behind what their curves need


def build(op: Gru, name: str) -> Any:
    return loops(op, op, name, tir.products(op))


def loops(op: Gru, kernel: Op, name: str, products: Products) -> Any:
    """Of a `kernel` that computes `op` by `products` of its own; their operands may be others than the operator's."""
    shapes, walk, rows, before = Shapes(kernel), op.walk, op.rows, op.before
    batch, hidden, steps = walk.batch, walk.hidden, walk.steps
    first = products.of_h(0, rows if before else 2 * hidden)
    of_x, of_share = products.of_x, first if before else products.of_h(2 * hidden, rows)
    begin, answer, gates, candidate = tir.begun(op), tir.answered(op), opened(op), updated(op)

    @T.prim_func(s_tir=True)
    def gru(
        X: shapes.of("x", 3, "int8"),
        H0: shapes.of("h0", 2, "int16"),
        W: shapes.of("w", 2, "int8"),
        R: shapes.of("r", 2, "int8"),
        WF: shapes.of("w_factor", 1, "int32"),
        RF: shapes.of("r_factor", 1, "int32"),
        B: shapes.of("bias", 1, "int64"),
        N: shapes.of("inner", 1, "int64"),
        GB: shapes.of("gate_blocks", 1, "uint16"),
        GE: shapes.of("gate_ends", 2, "int16"),
        AB: shapes.of("candidate_blocks", 1, "uint16"),
        AE: shapes.of("candidate_ends", 2, "int16"),
        Y: shapes.of("y", 3, "int16"),
        H: shapes.of("h", 2, "int16"),
        S: shapes.of("sums", 2, "int32"),
        Q: shapes.of("share", 2, "int16"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        V = T.sblock_alloc_buffer((14,), "int32")
        E = T.sblock_alloc_buffer((3,), "int32")
        for one in T.serial(batch):
            begin(H0, H, one)
            for step in T.serial(steps):
                time = T.meta_var(steps - 1 - step if walk.backward else step)
                of_x(X, W, S, time, one)
                first(H, R, S, time, one)
                for unit in T.serial(hidden):
                    gates(S, WF, RF, B, GB, GE, H, Q, V, E, one, unit)
                if not before:
                    of_share(Q, R, S, time, R_)
                for unit in T.serial(hidden):
                    candidate(S, WF, RF, B, N, AB, AE, H, Q, V, E, one, unit)
                    answer(Y, time, one, unit, T.cast(H[one, unit], "int32"))

    return tir.without(gru, kernel, NAMES)


def opened(op: Gru) -> Any:
    """A macro: z of a unit, and r, or the share of the state that it leaves."""
    numbers, hidden, before = op.numbers, op.walk.hidden, op.before
    line = tir.on_curve(op.of_gate)

    @T.macro
    def gates(S, WF, RF, B, GB, GE, H, Q, V, E, one, unit):
        V[4 * Z] = tir.saturated(tir.entering(S, unit, WF, RF, B), numbers.shift)
        line(V, Z, GB, GE, E, Z)
        Q[Z, unit] = T.cast(E[Z], "int16")
        V[4 * R_] = tir.saturated(tir.entering(S, hidden + unit, WF, RF, B), numbers.shift)
        line(V, R_, GB, GE, E, R_)
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
    def update(S, WF, RF, B, N, AB, AE, H, Q, V, E, one, unit):
        row = T.meta_var(2 * hidden + unit)
        if before:
            V[INNER] = inner(tir.of_row(S, 1, row, RF) + N[unit])
            V[OUTER] = inner(tir.of_row(S, 0, row, WF) + B[row])
            wide = T.meta_var(T.cast(Q[R_, unit], "int64") * T.cast(V[INNER], "int64") * T.int64(numbers.reset))
            half = T.meta_var(T.int64(1 << (numbers.reset_shift - 1)))
            V[4 * G] = tir.saturated(T.cast(V[OUTER], "int64") + ((wide + half) >> T.int64(numbers.reset_shift)), 0)
        else:
            V[4 * G] = tir.saturated(tir.entering(S, row, WF, RF, B), numbers.shift)
        line(V, G, AB, AE, E, G)
        left = T.meta_var(T.cast(numbers.one - T.cast(Q[Z, unit], "int32"), "int64"))
        added = T.meta_var(left * T.cast(E[G], "int64") * T.int64(numbers.add))
        kept = T.meta_var(T.cast(Q[Z, unit], "int64") * T.cast(H[one, unit], "int64") * T.int64(numbers.keep))
        H[one, unit] = T.cast(tir.rounded(added + kept, numbers.state_shift), "int16")

    return update
