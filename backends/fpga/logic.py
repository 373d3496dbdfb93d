"""What pieces of an accelerator take of a part of the 7 series: estimates, until a design is synthesized.

Counted from what stands in a module, as Yosys maps such to tables, registers and blocks. Memories of at most 64 words
become lookup tables, others blocks of 18 Kibit; of constants `style` says so in the Verilog, since synthesis left alone
makes tables of more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bevel.backends.program.resources import NOTHING, Resource, Resources

SHALLOW = 64  # words that a memory of lookup tables holds
SHAPES = ((1, 16384), (2, 8192), (4, 4096), (9, 2048), (18, 1024), (36, 512))  # of a block: bits of a word, words
LEAST_BITS = 1024  # of a memory that becomes a block


@dataclass(frozen=True)
class MultiplierBlock:
    """A multiplier block: the bits of its two factors, signed."""

    wide: int = 25
    narrow: int = 18


BLOCKS = "blocks-"  # how the ability begins that says which blocks a part has, as "blocks-25x18"


def block(abilities: Iterable[str]) -> MultiplierBlock:
    """The multiplier blocks of a target; those of the 7 series where it does not say."""
    found = [one.removeprefix(BLOCKS).split("x") for one in abilities if one.startswith(BLOCKS)]
    return MultiplierBlock(*map(int, found[0])) if found else MultiplierBlock()


def logic(lut: float = 0, ff: float = 0, dsp: float = 0, bram: float = 0) -> Resources:
    """bram: in blocks of 36 Kibit."""
    return Resources({Resource.LUT: lut, Resource.FF: ff, Resource.DSP: dsp, Resource.BRAM: bram})


def total(parts: list[Resources]) -> Resources:
    return sum(parts, NOTHING)


def in_blocks(words: int, bits: int) -> bool:
    """Whether a memory is counted as blocks."""
    return words > SHALLOW and words * bits >= LEAST_BITS


def style(words: int, bits: int) -> str:
    """What stands before the declaration of constants, so that they become what they are counted as."""
    return '(* rom_style = "block" *) ' if in_blocks(words, bits) else ""


def memory(words: int, bits: int, written: bool) -> Resources:
    """A memory with a register behind it; without `written`, a ROM."""
    if not in_blocks(words, bits):
        deep = -(-words // 32) if written else -(-words // 64)
        per_bit = 4 / 6 * deep if written else deep * 1.1
        return logic(lut=bits * per_bit, ff=bits)
    blocks = min(-(-bits // width) * -(-words // depth) for width, depth in SHAPES)
    return logic(bram=blocks / 2, lut=0)


def queue(words: int, bits: int) -> Resources:
    """A FIFO, or a register slice."""
    if words < 3:
        return logic(lut=bits + 6, ff=2 * bits + 2)
    control = (words - 1).bit_length()
    return memory(words - 1, bits, True) + logic(lut=5 * control + 6, ff=3 * control + bits + 2)


def register_slice(bits: int) -> Resources:
    return queue(2, bits)


def additions(terms: int, level: int, bits: int) -> Resources:
    """A level of a tree that adds by twos, the first is 1: of an odd one out only a register."""
    return logic(lut=bits * (-(-terms >> (level - 1)) // 2), ff=bits * -(-terms >> level))
