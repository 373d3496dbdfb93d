"""The loops of `Rnn`: `bevel.backends.program.ops.rnn`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import Op
from bevel.backends.program.ops.rnn import Rnn
from bevel.backends.tir import recurrent as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.recurrent import Products, Shapes

NAMES = (
    *("x", "h0", "w", "r", "w_factor", "r_factor", "bias", "candidate_blocks", "candidate_ends"),
    *("y", "h", "sums"),
)


def build(op: Rnn, name: str) -> Any:
    return loops(op, op, name, tir.products(op))


def loops(op: Rnn, kernel: Op, name: str, products: Products) -> Any:
    """Of a `kernel` that computes `op` by `products` of its own; their operands may be others than the operator's."""
    shapes, walk, shift = Shapes(kernel), op.walk, op.shift
    batch, hidden, steps = walk.batch, walk.hidden, walk.steps
    of_x, of_h = products.of_x, products.of_h(0, op.rows)
    begin, answer, line = tir.begun(op), tir.answered(op), tir.on_curve(op.of_candidate)

    @T.prim_func(s_tir=True)
    def rnn(
        X: shapes.of("x", 3, "int8"),
        H0: shapes.of("h0", 2, "int16"),
        W: shapes.of("w", 2, "int8"),
        R: shapes.of("r", 2, "int8"),
        WF: shapes.of("w_factor", 1, "int32"),
        RF: shapes.of("r_factor", 1, "int32"),
        B: shapes.of("bias", 1, "int64"),
        AB: shapes.of("candidate_blocks", 1, "uint16"),
        AE: shapes.of("candidate_ends", 2, "int16"),
        Y: shapes.of("y", 3, "int16"),
        H: shapes.of("h", 2, "int16"),
        S: shapes.of("sums", 2, "int32"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        V = T.sblock_alloc_buffer((4,), "int32")
        E = T.sblock_alloc_buffer((1,), "int32")
        for one in T.serial(batch):
            begin(H0, H, one)
            for step in T.serial(steps):
                time = T.meta_var(steps - 1 - step if walk.backward else step)
                of_x(X, W, S, time, one)
                of_h(H, R, S, time, one)
                for unit in T.serial(hidden):
                    V[0] = tir.saturated(tir.entering(S, unit, WF, RF, B), shift)
                    line(V, 0, AB, AE, E, 0)
                    H[one, unit] = T.cast(E[0], "int16")
                    answer(Y, time, one, unit, E[0])

    return tir.without(rnn, kernel, NAMES)
