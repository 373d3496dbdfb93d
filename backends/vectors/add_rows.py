"""Add of two tensors, sixteen elements at a time along the last axis that they share.

LLVM makes vectors of the plain loops only where the output lies apart from the inputs; here a vector is read before its
place is written, so the output may lie over the first input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.ops import add
from bevel.backends.program.ops.add import Add
from bevel.backends.program.program import Call
from bevel.backends.program.shapes import broadcast_axes
from bevel.backends.tir.functions import in_grid, prim_func
from bevel.backends.tir.lazy import T, statements, tirx
from bevel.backends.tir.loops import offset_of
from bevel.backends.vectors.expressions import in_pieces, span, spread, stored
from bevel.calib.arithmetic.requantize import Output

LANES = 16
Stored = Callable[[Any, Output, int, str], Any]  # of so many integers of a type
Whole = tuple[int, Callable[[Any, Any], Any]]  # how many neighbours of both inputs, and their results


def row_of(plain: Add) -> int:
    """Neighbouring elements of the output."""
    return broadcast_axes(plain.shape, plain.a_shape, plain.b_shape, plain.shape)[0][-1]


def build(p: Add, name: str, stored: Stored = stored, whole: Whole | None = None) -> Any:
    """A PrimFunc with the operands and results of `p`. stored: how results become what the output holds; whole: another
    way for long pieces."""
    extents, (a_steps, b_steps, y_steps) = broadcast_axes(p.shape, p.a_shape, p.b_shape, p.shape)
    longest, of_both = whole if whole is not None and a_steps[-1] and b_steps[-1] else (LANES, None)

    def term(one: Any, first: Any, step: int, size: int, multiplier: int) -> Any:
        values = one[span(first, size)] if step else spread(one[first], size)
        wide = T.cast(values, f"{p.sum_dtype}x{size}" if size > 1 else p.sum_dtype)
        return wide * spread(tirx.const(multiplier, p.sum_dtype), size)

    def loops(buffers: tuple[Any, ...]) -> None:
        a, b, y = buffers

        def row(outer: tuple[Any, ...]) -> None:
            def piece(offset: Any, size: int) -> None:
                place = (*outer, offset)
                where = span(offset_of(place, y_steps), size)
                if of_both is not None and size == longest:
                    both = (one[span(offset_of(place, steps), size)] for one, steps in ((a, a_steps), (b, b_steps)))
                    statements.buffer_store(y, of_both(*both), [where])
                    return
                taken = (
                    term(one, offset_of(place, steps), steps[-1], size, multiplier)
                    for one, steps, multiplier in ((a, a_steps, p.a_multiplier), (b, b_steps, p.b_multiplier))
                )
                total = sum(taken, spread(tirx.const(p.offset, p.sum_dtype), size))
                shifted = total >> spread(tirx.const(p.shift, p.sum_dtype), size)
                statements.buffer_store(y, stored(shifted, p.output, size, p.sum_dtype), [where])

            in_pieces(extents[-1], piece, longest)

        in_grid(extents[:-1], row)

    return prim_func(name, p.operands(), loops)


def of_call(call: Call, kind: Callable[[Add], Kernel], elsewhere: str | None) -> Special | str:
    """The kernel of an architecture for `call`, or why there is none. elsewhere: why the target is another one."""
    plain = call.kernel
    if not isinstance(plain, Add):
        return "not an Add"
    if elsewhere is not None:
        return elsewhere
    row = row_of(plain)
    return f"rows of {row} elements" if row < LANES else Special(kind(plain), call.constants)


def plain_cases() -> Iterator[Add]:
    """What the plain kernel has where rows are long enough."""
    yield from (one for one in add.cases() if row_of(one) >= LANES)
