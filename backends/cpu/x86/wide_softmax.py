"""Softmax of two tables for x86, sixteen elements at a time: its exponentials once, in scratch, then their shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cpu.x86.gathering import Gathering
from bevel.backends.cpu.x86.packed import not_here
from bevel.backends.cpu.x86.vectors import first_lanes, gathered, lanes, one_rescaling, reduced, requantized, same
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Operand, scratch
from bevel.backends.program.ops import softmax
from bevel.backends.program.ops.softmax import WideSoftmax
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import in_pieces, store
from bevel.calib.arithmetic.softmax import ENTRY_BITS, FACTOR_BITS, FINE, LARGEST, RECIPROCAL_BITS

FINE_BITS = FINE.bit_length() - 1


@dataclass(frozen=True)
class WideSoftmaxX86(Gathering):
    """Exponentials of a row in scratch."""

    tables: ClassVar[tuple[str, ...]] = ("coarse", "fine")
    rates: ClassVar[Rates] = Rates(input=9e-10, call=3e-8, code=1500, unit=Resource.LATENCY)

    plain: WideSoftmax

    def operands(self) -> tuple[Operand, ...]:
        held = scratch("exponentials", (blocks_of(self.plain.n, BLOCK) * BLOCK + BLOCK,), "int32")
        return *super().operands(), held

    def loops(self, words: int, buffers: tuple[Any, ...]) -> None:
        x, coarse, fine, y, held = buffers
        n, lowest = self.plain.n, int(np.iinfo(self.plain.x_dtype).min)
        found = statements.alloc_buffer((BLOCK,), "int32", scope="local")
        factor = statements.alloc_buffer((1,), "int64", scope="local")
        every = T.ramp(0, 1, BLOCK)
        constants = one_rescaling(factor[0], RECIPROCAL_BITS - self.plain.bits)
        with statements.serial(self.plain.rows) as row:

            def largest(offset: Any, count: int) -> None:
                statements.buffer_store(found, T.max(found[every], lanes(x, row * n + offset, count)), [every])

            def exponentials(offset: Any, count: int) -> None:
                distance = T.broadcast(largest_of_row[0], BLOCK) - lanes(x, row * n + offset, count)
                e = first_lanes(exponential(distance, coarse, fine, words), count)
                statements.buffer_store(held, e, [T.ramp(offset, 1, BLOCK)])
                statements.buffer_store(found, found[every] + e, [every])

            def shares(offset: Any, count: int) -> None:
                values = requantized(held[T.ramp(offset, 1, BLOCK)], constants, self.plain.output)
                store(y, row * n + offset, values, count)

            largest_of_row = statements.alloc_buffer((1,), "int32", scope="local")
            statements.buffer_store(found, same(lowest), [every])
            in_pieces(n, largest, BLOCK)
            statements.buffer_store(largest_of_row, reduced("smax", found[every], "int32"), [0])
            statements.buffer_store(found, same(0), [every])
            in_pieces(n, exponentials, BLOCK)
            total = T.cast(reduced("add", found[every], "int32"), "int64")
            whole = T.truncdiv(T.int64(2**RECIPROCAL_BITS), T.max(total, T.int64(1)))
            statements.buffer_store(factor, T.min(whole, T.int64(2**FACTOR_BITS - 1)), [0])
            in_pieces(n, shares, BLOCK)


def exponential(distance: Any, coarse: Any, fine: Any, words: int) -> Any:
    """`bevel.calib.arithmetic.softmax.exponentials` of int32x16, as int32x16."""
    below, mask = same(FINE - 1), same(LARGEST)
    places = (distance >> same(FINE_BITS), distance & below)
    first, second = (
        T.cast(gathered(table, place, words, size=2) & mask, f"uint32x{BLOCK}")
        for table, place in zip((coarse, fine), places, strict=True)
    )
    half = T.broadcast(T.uint32(1 << (ENTRY_BITS - 1)), BLOCK)
    return T.cast(T.shift_right(first * second + half, T.broadcast(T.uint32(ENTRY_BITS), BLOCK)), f"int32x{BLOCK}")


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, WideSoftmax):
        return "no Softmax of two tables"
    kernel = WideSoftmaxX86(plain)
    return not_here(target) or why_not(plain) or Special(kernel, kernel.packed(call.constants))


def why_not(plain: WideSoftmax) -> str | None:
    """Why its rows are not computed sixteen at a time, if they are not."""
    if plain.mask is not None:
        return "a mask bars elements"
    return None if plain.sum_dtype == "int32" else f"the sum of {plain.n} exponentials takes 64 bits"


def cases() -> Iterable[WideSoftmaxX86]:
    """What the plain kernel has without masks; then rows of whole vectors, and of all the pieces that follow them."""
    plain = [one for one in softmax.cases() if isinstance(one, WideSoftmax) and why_not(one) is None]
    yield from map(WideSoftmaxX86, plain)
    wide = next(one for one in plain if one.output.dtype == "int16")
    for rows, n in ((3, 16), (5, 65), (2, 79), (7, 31)):
        yield WideSoftmaxX86(WideSoftmax(rows, n, FINE, 16, wide.output))
