"""The loops of `Rnn`: `bevel.backends.program.ops.rnn`."""

from __future__ import annotations

from typing import Any

from bevel.backends.program.op import Op
from bevel.backends.program.ops.rnn import Rnn
from bevel.backends.tir import recurrent as tir
from bevel.backends.tir.lazy import T
from bevel.backends.tir.recurrent import Products


def build(op: Rnn, name: str) -> Any:
    return loops(op, op, name, tir.products(op))


def loops(op: Rnn, kernel: Op, name: str, products: Products) -> Any:
    """Of a `kernel` that computes `op` by `products` of its own."""
    hidden, shift, of_h = op.walk.hidden, op.shift, products.of_h(0, op.rows)
    answer, line = tir.answered(op), tir.on_curve(op.of_candidate)

    @T.macro
    def step(parts, time, one):
        S, H, V, E = T.meta_var((parts.S, parts.H, parts.V, parts.E))
        of_h(H, parts.R, S, time, one)
        for unit in T.serial(hidden):
            V[0] = tir.saturated(tir.entering(S, unit, parts.WF, parts.RF, parts.B), shift)
            line(V, 0, parts.AB, parts.AE, E, 0)
            H[one, unit] = T.cast(E[0], "int16")
            answer(parts.Y, time, one, unit, E[0])

    return tir.loops(op, kernel, name, products.of_x, step, (4, 1))
