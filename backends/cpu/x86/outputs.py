"""What becomes of the sums of a tile: rescaled, packed as many at a time as a vector holds, and written in runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bevel.backends.cpu.x86 import floats
from bevel.backends.encodings.quads import BLOCK, QUAD
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import store
from bevel.calib.arithmetic.requantize import Output

Rescale = Callable[[Any, Any], Any]  # sums, int32x16, and their block, to results


@dataclass(frozen=True)
class BlockSums:
    """Of a block, int32x16: the first `count` are outputs, `offset` elements behind the first one of the tile."""

    words: Any
    block: Any
    offset: int
    count: int


@dataclass(frozen=True)
class BlockByBlock:
    """Results of each block by `rescale`."""

    rescale: Rescale

    def store(self, y: Any, place: Any, sums: Sequence[BlockSums]) -> None:
        """TIR that writes those of a tile; place: of its first output."""
        for one in sums:
            store(y, place + one.offset, self.rescale(one.words, one.block), one.count)


@dataclass(frozen=True)
class InFloats:
    """Results by `floats`, of blocks that fill vectors of so many words."""

    rescaling: Any
    output: Output
    words: int

    def store(self, y: Any, place: Any, sums: Sequence[BlockSums]) -> None:
        """TIR that writes those of a tile; place: of its first output."""
        together = self.words * QUAD // BLOCK
        for first in range(0, len(sums), together):
            some = sums[first : first + together]
            every = [floats.rounded(one.words, self.rescaling, one.block) for one in some]
            every += [every[-1]] * (together - len(some))
            packed = statements.alloc_buffer((together * BLOCK,), "int8", scope="local")
            values = floats.narrowed(every, self.words, self.output)
            statements.buffer_store(packed, values, [T.ramp(0, 1, together * BLOCK)])
            for at, offset, count in runs(some):
                copy(y, place + offset, packed, at * BLOCK, count)


Results = BlockByBlock | InFloats


def runs(sums: Sequence[BlockSums]) -> Iterator[tuple[int, int, int]]:
    """(index, offset, outputs) of neighbours without gaps."""
    start = 0
    for index, one in enumerate(sums):
        end = index + 1 == len(sums) or one.count < BLOCK or sums[index + 1].offset != one.offset + BLOCK
        if end:
            yield start, sums[start].offset, (index - start) * BLOCK + one.count
            start = index + 1


def copy(y: Any, place: Any, packed: Any, first: int, count: int) -> None:
    """TIR of `count` bytes, in pieces that are powers of two."""
    done = 0
    while done < count:
        size = 1 << ((count - done).bit_length() - 1)
        taken, to = (
            (first + done, place + done)
            if size == 1
            else (T.ramp(first + done, 1, size), T.ramp(place + done, 1, size))
        )
        statements.buffer_store(y, packed[taken], [to])
        done += size
