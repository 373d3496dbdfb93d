"""The parts of a step of a recurrent network as TIR statements: `bevel.calib.arithmetic.recurrent` inside kernels.

All their kernels are one function over all the operands that any of them may have (`loops`); `without` drops those that
the operator at hand has not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from bevel.backends.program.op import Op
from bevel.backends.program.recurrence import Curve, Recurrence
from bevel.backends.program.shapes import register_tile
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T, tirx
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, LOWEST
from bevel.calib.arithmetic.recurrent import STATE

LOW, HIGH = STATE.low, STATE.high
WORD = 32  # bits


class Products(NamedTuple):
    """Macros (V, W, S, time, one) that write rows of the sums S [2, rows]. of_x: all, of the row V[time, one]; of_h: by
    the first and the end of some rows, these, of the row V[one]."""

    of_x: Any
    of_h: Callable[[int, int], Any]


def products(op: Recurrence) -> Products:
    """As plain loops."""
    walk = op.walk
    inputs, hidden, sums = walk.inputs, walk.hidden, walk.sums
    # TVM would keep an accumulator of int64 and the int32 of what follows in one place, which strict C forbids.
    apart = sums == "int32"

    def product(which: int, first: int, end: int, terms: int, term: Any) -> Any:
        tile = register_tile(end - first) if apart else 1

        @T.macro
        def rows(V, W, S, time, one):
            for block in T.serial((end - first) // tile):
                row = T.meta_var(first + block * tile)
                if apart:
                    A = T.alloc_buffer((tile,), sums)
                    for u in T.unroll(tile):
                        A[u] = 0
                    for k in T.serial(terms):
                        for u in T.unroll(tile):
                            A[u] = A[u] + term(V, time, one, k) * T.cast(W[row + u, k], sums)
                    for u in T.unroll(tile):
                        S[which, row + u] = A[u]
                else:
                    S[which, row] = T.int64(0)
                    for k in T.serial(terms):
                        S[which, row] = S[which, row] + term(V, time, one, k) * T.cast(W[row, k], sums)

        return rows

    def of_input(X: Any, time: Any, one: Any, k: Any) -> Any:
        return T.cast(X[time, one, k], sums)

    def of_state(H: Any, time: Any, one: Any, k: Any) -> Any:
        return T.cast(H[one, k], sums)

    return Products(
        product(0, 0, op.rows, inputs, of_input),
        lambda first, end: product(1, first, end, hidden, of_state),
    )


def saturated(value: Any, shift: int) -> Any:
    """An int64 expression >> shift, held to int16, as int32; from a shift of 32 on by the upper word alone."""
    if shift >= WORD:
        upper = T.cast(value >> T.int64(WORD), "int32")
        return T.max(T.min(upper >> (shift - WORD), HIGH), LOW)
    return T.cast(T.max(T.min(value >> T.int64(shift), T.int64(HIGH)), T.int64(LOW)), "int32")


def rounded(value: Any, shift: int) -> Any:
    """The same, rounded."""
    return saturated(value + T.int64(1 << (shift - 1)), shift)


def entering(S: Any, row: Any, w_factor: Any, r_factor: Any, bias: Any) -> Any:
    """`gate_inputs` of a row, an int64 expression."""
    return of_row(S, 0, row, w_factor) + of_row(S, 1, row, r_factor) + bias[row]


def of_row(S: Any, which: int, row: Any, factor: Any) -> Any:
    return T.cast(S[which, row], "int64") * T.cast(factor[row], "int64")


def on_curve(curve: Curve) -> Any:
    """A macro (V, at, blocks, ends, G, place): G[place], int32, is what the curve makes of the int16 code V[4 * at].

    Each use in a kernel has an `at` of its own: TVM's C calls two clamps of the same text one, whatever was stored in
    between.
    """
    block, fraction = curve.block, curve.fraction

    @T.macro
    def line(V, at, blocks, ends, G, place):
        code = T.meta_var(4 * at)
        entry, segment, offset = T.meta_var((code + 1, code + 2, code + 3))
        V[code] = V[code] - LOWEST
        V[entry] = T.cast(blocks[V[code] >> block], "int32")
        bits = T.meta_var(V[entry] & (BITS_OF_LENGTH - 1))
        V[segment] = V[entry] // BITS_OF_LENGTH + ((V[code] & ((1 << block) - 1)) >> bits)
        V[offset] = V[code] & ((T.int32(1) << bits) - 1)
        left = T.meta_var(T.cast(ends[V[segment], 0], "int32"))
        rise = T.meta_var(T.cast(ends[V[segment], 1], "int32") - left)
        half = T.meta_var((T.int32(1 << fraction) << bits) >> 1)
        found = T.meta_var(((left << bits) + rise * V[offset] + half) >> (bits + fraction))
        G[place] = T.max(T.min(found, HIGH), LOW)

    return line


def answered(op: Recurrence) -> Any:
    """A macro (Y, time, one, unit, value): how a state, int32, is stored as the answer of its step."""
    answer = op.answer

    @T.macro
    def store(Y, time, one, unit, value):
        if answer is not None:
            if answer.same:
                Y[time, one, unit] = T.cast(value, "int16")
            else:
                Y[time, one, unit] = tir.requantize(value, answer.multiplier, answer.shift, answer.output)

    return store


def begun(op: Recurrence) -> Any:
    """A macro (initial, kept, one): the state in the beginning."""
    hidden, given = op.walk.hidden, op.walk.given

    @T.macro
    def begin(initial, kept, one):
        for unit in T.serial(hidden):
            if given:
                kept[one, unit] = initial[one, unit]
            else:
                kept[one, unit] = T.int16(0)

    return begin


OPERANDS = (
    *("x", "h0", "c0", "w", "r", "w_factor", "r_factor", "bias", "peephole", "inner"),
    *("gate_blocks", "gate_ends", "candidate_blocks", "candidate_ends", "cell_blocks", "cell_ends"),
    *("y", "h", "c", "sums", "share"),
)


class Parts(NamedTuple):
    """The buffers that a step reads and writes, as they are called in `loops`. V: int32, four for each function of a
    unit; E: int32, what the functions make of them."""

    R: Any
    WF: Any
    RF: Any
    B: Any
    P: Any
    N: Any
    GB: Any
    GE: Any
    AB: Any
    AE: Any
    CB: Any
    CE: Any
    Y: Any
    H: Any
    C: Any
    S: Any
    Q: Any
    V: Any
    E: Any


def loops(op: Recurrence, kernel: Op, name: str, of_x: Any, rest: Any, words: tuple[int, int]) -> Any:
    """The function of a `kernel` that computes `op`: its operands may be others than the operator's.

    of_x: as of `Products`. rest: a macro (parts, time, one), what a step does behind it. words: of V, and of E."""
    shapes, walk = Shapes(kernel), op.walk
    batch, steps, begin, of_cell = walk.batch, walk.steps, begun(op), "c" in op.states
    entering_words, found_words = words

    @T.prim_func(s_tir=True)
    def recurrence(
        X: shapes.of("x", 3, "int8"),
        H0: shapes.of("h0", 2, "int16"),
        C0: shapes.of("c0", 2, "int16"),
        W: shapes.of("w", 2, "int8"),
        R: shapes.of("r", 2, "int8"),
        WF: shapes.of("w_factor", 1, "int32"),
        RF: shapes.of("r_factor", 1, "int32"),
        B: shapes.of("bias", 1, "int64"),
        P: shapes.of("peephole", 2, "int64"),
        N: shapes.of("inner", 1, "int64"),
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
        Q: shapes.of("share", 2, "int16"),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        V = T.sblock_alloc_buffer((entering_words,), "int32")
        E = T.sblock_alloc_buffer((found_words,), "int32")
        parts = T.meta_var(Parts(R, WF, RF, B, P, N, GB, GE, AB, AE, CB, CE, Y, H, C, S, Q, V, E))
        for one in T.serial(batch):
            begin(H0, H, one)
            if of_cell:
                begin(C0, C, one)
            for step in T.serial(steps):
                time = T.meta_var(steps - 1 - step if walk.backward else step)
                of_x(X, W, S, time, one)
                rest(parts, time, one)

    return without(recurrence, kernel, OPERANDS)


def without(function: Any, op: Op, names: tuple[str, ...]) -> Any:
    """`function`, whose parameters are called `names`, without those that are no operands of `op`."""
    kept = {operand.name for operand in op.operands()}
    parameters = [one for one, name in zip(function.params, names, strict=True) if name in kept]
    return tirx.PrimFunc(parameters, function.body, function.ret_type, function.attrs)


class Shapes(dict[str, tuple[tuple[int, ...], str]]):
    """Shape and type of each operand of `op`; anything of those that it has not."""

    def __init__(self, op: Op) -> None:
        super().__init__({operand.name: (operand.shape, operand.dtype) for operand in op.operands()})

    def of(self, name: str, rank: int, dtype: str) -> Any:
        shape, found = self.get(name, ((1,) * rank, dtype))
        return T.Buffer(shape, found)
