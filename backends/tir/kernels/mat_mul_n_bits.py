"""The loops of `MatMulNBits`: `bevel.backends.program.ops.mat_mul_n_bits`.

A machine without an instruction for it computes the fused multiplication and addition of float32 in float64, as
`bevel.calib.arithmetic.fused` has it: nothing is called.
"""

from __future__ import annotations

from typing import Any

from bevel.backends.encodings.planes import LANES, UNIT, planes, units_of
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.tir.functions import prim_func
from bevel.backends.tir.lazy import T, statements


def build(op: MatMulNBits, name: str) -> Any:
    def body(buffers: tuple[Any, ...]) -> None:
        with statements.grid(op.rows, op.n) as (i, j):
            one_output(op, buffers, i, j)

    return prim_func(name, op.operands(), body)


def one_output(op: MatMulNBits, buffers: tuple[Any, ...], i: Any, j: Any) -> None:
    """TIR of y[i, j]."""
    x, w, scale, *rest, y = buffers
    sums = statements.alloc_buffer((2,), "float32")
    wide = statements.alloc_buffer((7,), "float64")
    block, lane = j // LANES, j % LANES
    statements.buffer_store(sums, T.float32(0), [0])
    with statements.serial(op.groups) as group:
        place = (block * op.groups + group) * LANES + lane
        zero = T.int32(op.zero) if op.zero is not None else T.cast(rest[0][place], "int32")
        statements.buffer_store(sums, T.float32(0), [1])
        with statements.serial(op.group) as step:
            k = group * op.group + step

            def term(k: Any = k, zero: Any = zero) -> None:
                weight = T.cast(code(op, w, block, k, lane) - zero, "float32")
                fused(wide, sums, 1, x[i * op.k + k], weight)

            if op.k % op.group:
                with statements.If(k < op.k), statements.Then():
                    term()
            else:
                term()
        fused(wide, sums, 0, sums[1], scale[place])
    statements.buffer_store(y, sums[0] + rest[-1][j] if op.bias else sums[0], [i * op.n + j])


def code(op: MatMulNBits, w: Any, block: Any, k: Any, lane: Any) -> Any:
    """int32, from 0 on."""
    unit, step, found = k // UNIT, k % UNIT, None
    for width, taken, first in planes(op.bits):
        each = UNIT // width
        word = ((block * units_of(op.k) + unit) * op.bits + first + step // each) * LANES + lane
        part = ((w[word] >> (step % each * width)) & T.int32(2**width - 1)) << taken
        found = part if found is None else found | part
    return found


def fused(wide: Any, sums: Any, place: int, a: Any, b: Any) -> None:
    """TIR of sums[place] = a * b + sums[place], rounded once; wide: float64 [7], working memory.

    The float64 sum s is rounded twice only where it is the middle of two float32, r and r + 2d for s = r + d: then its
    error says which is nearer.
    """

    def put(at: int, value: Any) -> None:
        statements.buffer_store(wide, value, [at])

    product, added, total, part, error, away, beyond = range(7)
    put(product, T.cast(a, "float64") * T.cast(b, "float64"))
    put(added, T.cast(sums[place], "float64"))
    put(total, wide[product] + wide[added])
    put(part, wide[total] - wide[product])
    put(error, (wide[product] - (wide[total] - wide[part])) + (wide[added] - wide[part]))
    statements.buffer_store(sums, T.cast(wide[total], "float32"), [place])
    put(away, wide[total] - T.cast(sums[place], "float64"))
    put(beyond, wide[total] + wide[away])
    # Half a last bit of float32 is below `huge`; what leaves float32 is infinite
    zero, huge = T.float64(0), T.float64(2.0**120)
    above = T.And(T.And(wide[away] > zero, wide[away] < huge), wide[error] > zero)
    below = T.And(T.And(wide[away] < zero, wide[away] > -huge), wide[error] < zero)
    other = T.cast(wide[beyond], "float32")
    middle = T.cast(other, "float64") == wide[beyond]
    with statements.If(T.And(T.Or(above, below), middle)), statements.Then():
        statements.buffer_store(sums, other, [place])
