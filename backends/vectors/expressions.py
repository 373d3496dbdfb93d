"""Vectors of any CPU as TIR expressions: LLVM's shuffles and functions, and loads and stores of any length.

LLVM splits what is longer than the registers of the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bevel.backends.encodings.quads import BLOCK, FLIP
from bevel.backends.tir.lazy import T, statements, tirx
from bevel.calib.arithmetic.requantize import Output

LONGEST = 64  # bytes of one load or store


def intrinsic(name: str, *arguments: Any, dtype: str) -> Any:
    """A call of LLVM's."""
    return T.call_llvm_pure_intrin(T.llvm_lookup_intrinsic_id(name), *arguments, dtype=dtype)


def shuffled(vectors: Sequence[Any], places: Sequence[int]) -> Any:
    """The elements at `places` of all `vectors`, one after the other."""
    return tirx.Shuffle(list(vectors), [tirx.const(place, "int32") for place in places])


def stored(rounded: Any, output: Output, size: int = BLOCK, dtype: str = "int32") -> Any:
    """`Output.store` of so many int32 or int64."""
    zero_point, low, high = (
        spread(tirx.const(one, dtype), size) for one in (output.zero_point, output.low, output.high)
    )
    return T.cast(T.max(T.min(rounded + zero_point, high), low), f"{output.dtype}x{size}" if size > 1 else output.dtype)


def store(buffer: Any, place: Any, values: Any, count: int, of: int = BLOCK) -> None:
    """TIR that writes the first `count` of so many values, a power of two."""
    done, size = 0, of
    while size:
        if count - done >= size:
            part = values if size == of else shuffled([values], range(done, done + size))
            statements.buffer_store(buffer, part, [span(place + done, size)])
            done += size
        size //= 2


def copied(target: Any, to: Any, source: Any, first: Any, count: int, flipped: bool) -> None:
    """TIR that writes `count` integers as those of another type; flipped: int8 as the uint8 that are `FLIP` more."""

    def piece(offset: Any, size: int) -> None:
        def of(dtype: str) -> str:
            return f"{dtype}x{size}" if size > 1 else dtype

        taken = source[span(first + offset, size)]
        if flipped:
            taken = T.reinterpret(taken, dtype=of("uint8")) ^ spread(T.uint8(FLIP), size)
        statements.buffer_store(target, T.cast(taken, of(str(target.dtype))), [span(to + offset, size)])

    in_pieces(count, piece, longest(target))


def fill(target: Any, first: Any, count: int, value: int) -> None:
    """TIR that writes an integer `count` times."""

    def piece(offset: Any, size: int) -> None:
        same = spread(tirx.const(value, str(target.dtype)), size)
        statements.buffer_store(target, same, [span(first + offset, size)])

    in_pieces(count, piece, longest(target))


def longest(buffer: Any) -> int:
    """Elements of one load or store."""
    return LONGEST if buffer.dtype in ("int8", "uint8") else LONGEST // 2


def span(first: Any, size: int) -> Any:
    """The index of `size` neighbouring elements."""
    return T.ramp(first, 1, size) if size > 1 else first


def spread(value: Any, size: int) -> Any:
    return T.broadcast(value, size) if size > 1 else value


def in_pieces(count: int, piece: Callable[[Any, int], None], longest: int) -> None:
    """TIR for `count` elements: pieces of `longest`, a power of two, in a loop; then shorter ones."""
    whole, rest = divmod(count, longest)
    if whole:
        with statements.serial(whole) as block:
            piece(block * longest, longest)
    done, size = whole * longest, longest
    while rest:
        size //= 2
        if rest >= size:
            piece(done, size)
            done, rest = done + size, rest - size
