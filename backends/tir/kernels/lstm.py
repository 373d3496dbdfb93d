"""The loops of `Lstm`: `bevel.backends.program.ops.lstm`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import Op
from bevel.backends.program.ops.lstm import Lstm
from bevel.backends.tir import recurrent as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.recurrent import Products, Shapes

NAMES = (
    *("x", "h0", "c0", "w", "r", "w_factor", "r_factor", "bias", "peephole"),
    *("gate_blocks", "gate_ends", "candidate_blocks", "candidate_ends", "cell_blocks", "cell_ends"),
    *("y", "h", "c", "sums"),
)
# Gates, in the order of their rows; the cell; what its function makes of it
OPEN, SHOW, KEEP, CANDIDATE, CELL, SHOWN = range(6)


def build(op: Lstm, name: str) -> Any:
    return loops(op, op, name, tir.products(op))


def loops(op: Lstm, kernel: Op, name: str, products: Products) -> Any:
    """Of a `kernel` that computes `op` by `products` of its own; their operands may be others than the operator's."""
    shapes, walk, rows = Shapes(kernel), op.walk, op.rows
    batch, hidden, steps = walk.batch, walk.hidden, walk.steps
    of_x, of_h = products.of_x, products.of_h(0, rows)
    begin, answer, unit_of = tir.begun(op), tir.answered(op), updated(op)

    @T.prim_func(s_tir=True)
    def lstm(
        X: shapes.of("x", 3, "int8"),
        H0: shapes.of("h0", 2, "int16"),
        C0: shapes.of("c0", 2, "int16"),
        W: shapes.of("w", 2, "int8"),
        R: shapes.of("r", 2, "int8"),
        WF: shapes.of("w_factor", 1, "int32"),
        RF: shapes.of("r_factor", 1, "int32"),
        B: shapes.of("bias", 1, "int64"),
        P: shapes.of("peephole", 2, "int64"),
        GB: shapes.of("gate_blocks", 1, "uint16"),
        GE: shapes.of("gate_ends", 2, "int16"),
        AB: shapes.of("candidate_blocks", 1, "uint16"),
        AE: shapes.of("candidate_ends", 2, "int16"),
        CB: shapes.of("cell_blocks", 1, "uint16"),
        CE: shapes.of("cell_ends", 2, "int16"),
        Y: shapes.of("y", 3, "int16"),
        H: shapes.of("h", 2, "int16"),
        C: shapes.of("c", 2, "int16"),
        S: shapes.of("sums", 2, "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        V = T.sblock_alloc_buffer((4 * SHOWN,), "int32")
        E = T.sblock_alloc_buffer((SHOWN + 1,), "int32")
        for one in T.serial(batch):
            begin(H0, H, one)
            begin(C0, C, one)
            for step in T.serial(steps):
                time = T.meta_var(steps - 1 - step if walk.backward else step)
                of_x(X, W, S, time, one)
                of_h(H, R, S, time, one)
                for unit in T.serial(hidden):
                    unit_of(S, WF, RF, B, P, GB, GE, AB, AE, CB, CE, H, C, V, E, one, unit)
                    answer(Y, time, one, unit, T.cast(H[one, unit], "int32"))

    return tir.without(lstm, kernel, NAMES)


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
    def update(S, WF, RF, B, P, GB, GE, AB, AE, CB, CE, H, C, V, E, one, unit):
        rows = T.meta_var((WF, RF, B))
        V[4 * OPEN] = tir.saturated(gate(S, OPEN, unit, rows) + peeped(P, 0, unit, C[one, unit]), shift)
        of_gate(V, OPEN, GB, GE, E, OPEN)
        if one_ == 0:
            V[4 * KEEP] = tir.saturated(gate(S, KEEP, unit, rows) + peeped(P, 2, unit, C[one, unit]), shift)
            of_gate(V, KEEP, GB, GE, E, KEEP)
        V[4 * CANDIDATE] = tir.saturated(gate(S, CANDIDATE, unit, rows), shift)
        of_candidate(V, CANDIDATE, AB, AE, E, CANDIDATE)
        kept = T.meta_var(share(E) * T.cast(C[one, unit], "int64") * T.int64(numbers.keep))
        E[CELL] = tir.rounded(kept + product(E[OPEN], E[CANDIDATE], numbers.add), numbers.cell_shift)
        C[one, unit] = T.cast(E[CELL], "int16")
        V[4 * SHOW] = tir.saturated(gate(S, SHOW, unit, rows) + peeped(P, 1, unit, E[CELL]), shift)
        of_gate(V, SHOW, GB, GE, E, SHOW)
        V[4 * CELL] = E[CELL]
        of_cell(V, CELL, CB, CE, E, SHOWN)
        H[one, unit] = T.cast(tir.rounded(product(E[SHOW], E[SHOWN], numbers.show), numbers.show_shift), "int16")

    return update
