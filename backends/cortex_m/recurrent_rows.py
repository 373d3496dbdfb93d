"""What the kernels of recurrent networks share: the loops of the operator, with products by rows of packed weights.

The weights of some rows are packed together: all of w; all of r, but those of a GRU's candidate apart, where they wait
for what its reset gate leaves of the state.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, constant, scratch
from bevel.backends.program.ops import gru, lstm, rnn
from bevel.backends.program.ops.gru import Gru
from bevel.backends.program.ops.lstm import Lstm
from bevel.backends.program.ops.rnn import Rnn
from bevel.backends.program.program import Call
from bevel.backends.program.recurrence import Recurrence
from bevel.backends.tir.kernels import gru as gru_loops
from bevel.backends.tir.kernels import lstm as lstm_loops
from bevel.backends.tir.kernels import rnn as rnn_loops
from bevel.backends.tir.lazy import T
from bevel.backends.tir.recurrent import Products

LOOPS = {Lstm: lstm_loops, Gru: gru_loops, Rnn: rnn_loops}
ROWS = 4  # of a tile
Rows = tuple[int, int]  # from the first to the end


@dataclass(frozen=True)
class RecurrentRows(Kernel):
    """The operands and results of `plain`, but for its weights, which are packed; behind the sums of x and of h, in
    scratch, lies the vector that they are made of.

    lanes: the elements of a block, of a row or a vector, by the vector's type; words: that a vector's takes; order: of
    the elements of a row's, which is its own inverse; stored: what weights are stored as, tiles of four rows of blocks.
    """

    lanes: ClassVar[Mapping[str, int]]
    words: ClassVar[int]
    order: ClassVar[list[int] | slice] = slice(None)
    stored: ClassVar[str] = "int8"

    plain: Recurrence

    @property
    def op(self) -> Op:
        return self.plain

    def vector_words(self, count: int, dtype: str) -> int:
        """Words of a vector of `count` elements."""
        return self.words * blocks(count, self.lanes[dtype])

    def pack(self, weights: Array, dtype: str) -> Array:
        """int8 [rows, k] for a vector of a type, as the products read them."""
        lanes = self.lanes[dtype]
        rows, k = blocks(len(weights), ROWS), blocks(weights.shape[1], lanes)
        tiled = padded(weights, rows * ROWS, k * lanes).reshape(rows, ROWS, k, lanes)[..., self.order]
        return np.ascontiguousarray(tiled.swapaxes(1, 2)).view(self.stored).ravel()

    def unpack(self, packed: Array, rows: int, k: int, dtype: str) -> Array:
        """The weights again."""
        lanes = self.lanes[dtype]
        of_rows, of_k = blocks(rows, ROWS), blocks(k, lanes)
        words = packed[: of_rows * of_k * ROWS * lanes // np.dtype(self.stored).itemsize].astype(self.stored)
        tiled = words.view(np.int8).reshape(of_rows, of_k, ROWS, lanes)[..., self.order].swapaxes(1, 2)
        return np.ascontiguousarray(tiled.reshape(of_rows * ROWS, of_k * lanes)[:rows, :k])

    @abstractmethod
    def put_vector(self, dtype: str) -> str:
        """The C function (words, elements, their count, words) that lays a vector."""

    @abstractmethod
    def put_rows(self, dtype: str) -> str:
        """The C function (sums, weights, vector, its words, rows) that multiplies it."""

    def parts(self) -> dict[str, tuple[int, str, tuple[Rows, ...]]]:
        """Of each weight: the elements of a row, the type of the vector, and the rows that are packed together."""
        plain, rows = self.plain, self.plain.rows
        apart = isinstance(plain, Gru) and not plain.before
        inner = 2 * plain.walk.hidden
        of_h = ((0, inner), (inner, rows)) if apart else ((0, rows),)
        return {"w": (plain.walk.inputs, plain.walk.x_dtype, ((0, rows),)), "r": (plain.walk.hidden, "int16", of_h)}

    def packed(self, name: str, weights: Array) -> Array:
        _, dtype, parts = self.parts()[name]
        return np.concatenate([self.pack(weights[first:end], dtype).ravel() for first, end in parts])

    def unpacked(self, name: str, packed: Array) -> Array:
        k, dtype, parts = self.parts()[name]
        starts = self.starts(name)
        found = [self.unpack(packed[starts[one[0]] :], one[1] - one[0], k, dtype) for one in parts]
        return np.concatenate(found)

    def starts(self, name: str) -> dict[int, int]:
        """Where the packed rows begin that begin with a row."""
        k, dtype, parts = self.parts()[name]
        sizes = [self.pack(np.zeros((end - first, k), np.int8), dtype).size for first, end in parts]
        return {first: sum(sizes[:place]) for place, (first, _) in enumerate(parts)}

    def operands(self) -> tuple[Operand, ...]:
        plain = self.plain
        room = max(self.vector_words(k, dtype) for k, dtype, _ in self.parts().values())
        changed = {"sums": scratch("sums", (2, plain.rows + room), "int32")}
        for name, (k, dtype, parts) in self.parts().items():
            shapes = [self.pack(np.zeros((end - first, k), np.int8), dtype) for first, end in parts]
            changed[name] = constant(name, (sum(one.size for one in shapes),), str(shapes[0].dtype))
        return tuple(changed.get(operand.name, operand) for operand in plain.operands())

    def plain_arrays(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        names = [operand.name for operand in self.operands()]
        parts = self.parts()
        return tuple(
            self.unpacked(name, array) if name in parts else array for name, array in zip(names, arrays, strict=False)
        )

    def packed_arrays(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """Inputs and constants, or constants alone, of `plain`."""
        names = [operand.name for operand in self.plain.operands() if operand.role.value in ("input", "constant")]
        parts = self.parts()
        return tuple(
            self.packed(name, array) if name in parts else array
            for name, array in zip(names[len(names) - len(arrays) :], arrays, strict=True)
        )

    def reference(self, *arrays: Array) -> Array:
        return self.results(*arrays)[0]

    def results(self, *arrays: Array) -> tuple[Array, ...]:
        return self.plain.results(*self.plain_arrays(arrays))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return self.packed_arrays(self.plain.example(rng))

    def build(self, name: str) -> Any:
        return LOOPS[type(self.plain)].loops(self.plain, self, name, self.products())

    def products(self) -> Products:
        rows = self.plain.rows
        (inputs, x_dtype, _), (hidden, _, _) = self.parts().values()
        starts = self.starts("r")

        def product(which: int, first: int, end: int, count: int, dtype: str, place: Any) -> Any:
            words = self.vector_words(count, dtype)
            put_vector, put_rows, begin = self.put_vector(dtype), self.put_rows(dtype), starts[first] if which else 0

            @T.macro
            def multiply(V, W, S, time, one):
                vector = T.meta_var(T.address_of(S[which, rows]))
                call_void(put_vector, vector, place(V, time, one), count, words)
                call_void(put_rows, T.address_of(S[which, first]), T.address_of(W[begin]), vector, words, end - first)

            return multiply

        def of_input(X: Any, time: Any, one: Any) -> Any:
            return T.address_of(X[time, one, 0])

        def of_state(H: Any, time: Any, one: Any) -> Any:
            return T.address_of(H[one, 0])

        return Products(
            product(0, 0, rows, inputs, x_dtype, of_input),
            lambda first, end: product(1, first, end, hidden, "int16", of_state),
        )


def specialized(kind: type[RecurrentRows], call: Call) -> Special | str:
    """The call by a kernel of the `kind`, or why there is none."""
    plain = call.kernel
    if not isinstance(plain, Recurrence):
        return "no recurrent network"
    if is_wide(plain):
        return "its weights or its sums are wider than int8 and int32"
    kernel = kind(plain)
    return Special(kernel, kernel.packed_arrays(call.constants))


def is_wide(plain: Recurrence) -> bool:
    return (plain.walk.w_dtype, plain.walk.r_dtype, plain.walk.sums) != ("int8", "int8", "int32")


def plain_cases() -> Iterator[Recurrence]:
    """What the operators have, and rows and columns that are no fours and sixteens."""
    yield from (one for room in (lstm, gru, rnn) for one in room.cases() if not is_wide(one))
    for one in (*list(gru.cases())[1:7:5], list(lstm.cases())[1]):
        for inputs, hidden in ((9, 7), (33, 10), (16, 8)):
            yield replace(one, walk=replace(one.walk, inputs=inputs, hidden=hidden))


def blocks(count: int, size: int) -> int:
    return -(-count // size)


def padded(weights: Array, rows: int, k: int) -> Array:
    """[rows, k] with zeros behind."""
    found = np.zeros((rows, k), np.int8)
    found[: weights.shape[0], : weights.shape[1]] = weights
    return found
