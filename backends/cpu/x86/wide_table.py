"""Functions of int16 as straight lines for x86, sixteen at a time: two gathers, and a product of pairs for the line.

With `bits` the length of a segment, left and right its ends, neighbours in memory, and offset the code's place in it,

    left * 2**bits + (right - left) * offset  ==  left * (2**bits - offset) + right * offset

which VPMADDWD computes of the two int16 that one word of the gather holds: both factors are at most 2**12.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from bevel.backends.cpu.x86.gathering import Gathering
from bevel.backends.cpu.x86.packed import not_here
from bevel.backends.cpu.x86.vectors import gathered, lanes, pair_sums, same
from bevel.backends.encodings.quads import BLOCK
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops import table
from bevel.backends.program.ops.table import WideTable
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.vectors.expressions import in_pieces, store, stored
from bevel.calib.arithmetic.piecewise import BITS_OF_LENGTH, LOWEST

ENTRY = 2**16 - 1
LENGTH_BITS = BITS_OF_LENGTH.bit_length() - 1


@dataclass(frozen=True)
class WideTableX86(Gathering):
    tables: ClassVar[tuple[str, ...]] = ("blocks",)
    rates: ClassVar[Rates] = Rates(input=4e-10, call=3e-8, code=900, unit=Resource.LATENCY)

    plain: WideTable

    def loops(self, words: int, buffers: tuple[Any, ...]) -> None:
        x, blocks, ends, y = buffers

        def piece(offset: Any, count: int) -> None:
            code = lanes(x, offset, count) - same(LOWEST)
            store(y, offset, stored(self.lines(code, blocks, ends, words), self.plain.output), count)

        in_pieces(self.plain.size, piece, BLOCK)

    def lines(self, code: Any, blocks: Any, ends: Any, words: int) -> Any:
        """Results before the clamp of int32x16 from 0 on."""
        block, fraction = self.plain.block, self.plain.fraction
        entry = gathered(blocks, code >> same(block), words, size=2) & same(ENTRY)
        bits = entry & same(BITS_OF_LENGTH - 1)
        segment = (entry >> same(LENGTH_BITS)) + ((code & same((1 << block) - 1)) >> bits)
        length = same(1) << bits
        offset = code & (length - same(1))
        factors = (length - offset) | (offset << same(16))
        sums = pair_sums(gathered(ends, segment, words, size=4), factors, words)
        half = (length << same(fraction)) >> same(1)
        return (sums + half) >> (bits + same(fraction))


def specialize(call: Call, target: Target) -> Special | str:
    plain = call.kernel
    if not isinstance(plain, WideTable):
        return "no function of int16"
    kernel = WideTableX86(plain)
    return not_here(target) or Special(kernel, kernel.packed(call.constants))


def cases() -> Iterable[WideTableX86]:
    """What the plain kernel has; then sizes that leave all pieces."""
    plain = [one for one in table.cases() if isinstance(one, WideTable)]
    yield from map(WideTableX86, plain)
    yield WideTableX86(replace(plain[1], size=31))
