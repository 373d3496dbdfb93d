"""Thumb instructions by what they cost: a kind, the registers they read and write, and how many words they move.

Formats are those of the Armv7-M Architecture Reference Manual (DDI 0403), chapter A5, with the low-overhead loops and
Helium of the Armv8-M Architecture Reference Manual (DDI 0553), chapter C2. Only what a timing needs is decoded: flags,
immediates and floating-point registers are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

PC, SP = 15, 13


class Kind(Enum):
    ALU = "arithmetic and logic"
    DSP = "parallel, packing and saturating arithmetic"
    MULTIPLY = "multiplication, with or without accumulation"
    DIVIDE = "division"
    LOAD = "load of one register"
    STORE = "store of one register"
    LOAD_MANY = "load of several registers"
    STORE_MANY = "store of several registers"
    BRANCH = "direct branch"
    INDIRECT = "branch to an address from a register or from memory"
    LOOP = "start or end of a low-overhead loop"
    IT = "if-then"
    SYSTEM = "hints, barriers and special registers"
    FLOAT = "floating-point addition, comparison, conversion, move, multiplication"
    FLOAT_ACCUMULATE = "floating-point multiplication with accumulation"
    FLOAT_DIVIDE = "floating-point division and square root"
    VECTOR = "Helium arithmetic"
    VECTOR_LOAD = "Helium load"
    VECTOR_STORE = "Helium store"


LOADS = frozenset({Kind.LOAD, Kind.LOAD_MANY, Kind.VECTOR_LOAD})
STORES = frozenset({Kind.STORE, Kind.STORE_MANY, Kind.VECTOR_STORE})
BRANCHES = frozenset({Kind.BRANCH, Kind.INDIRECT, Kind.LOOP})


@dataclass(frozen=True)
class Instruction:
    """`reads` and `writes` are bit masks of r0 to r15; `words` is what a load or store of many moves.

    `addend` is the register that a multiplication adds its product to, as a bit mask.
    """

    size: int  # in bytes
    kind: Kind
    reads: int = 0
    writes: int = 0
    words: int = 1
    addend: int = 0


def decode(code: bytes) -> Iterator[Instruction]:
    """The instructions of straight-line code, in order."""
    at = 0
    while at + 1 < len(code):
        first = int.from_bytes(code[at : at + 2], "little")
        wide = first >= 0xE800
        found = long(first, int.from_bytes(code[at + 2 : at + 4], "little")) if wide else short(first)
        at += found.size
        yield found


def bits(*registers: int) -> int:
    return sum({1 << register for register in registers})


def short(h: int) -> Instruction:
    """A 16-bit instruction (A5.2)."""
    low, middle, high = h & 7, h >> 3 & 7, h >> 8 & 7
    match h >> 12:
        case 0 | 1:
            third = bits(h >> 6 & 7) if h >> 10 == 0b000110 or h >> 9 == 0b0001101 else 0
            return Instruction(2, Kind.ALU, bits(middle) | third, bits(low))
        case 2 | 3:
            move, compare = h >> 11 == 0b00100, h >> 11 == 0b00101
            return Instruction(2, Kind.ALU, 0 if move else bits(high), 0 if compare else bits(high))
        case 4:
            return short_register(h)
        case 5:
            kind = Kind.STORE if h >> 9 & 7 < 3 else Kind.LOAD
            return transfer(2, kind, low, bits(middle, h >> 6 & 7))
        case 6 | 7 | 8:
            return transfer(2, Kind.LOAD if h & 0x800 else Kind.STORE, low, bits(middle))
        case 9:
            return transfer(2, Kind.LOAD if h & 0x800 else Kind.STORE, high, bits(SP))
        case 10:
            return Instruction(2, Kind.ALU, bits(SP) if h & 0x800 else 0, bits(high))
        case 11:
            return short_miscellaneous(h)
        case 12:
            return many(2, bool(h & 0x800), h & 0xFF, bits(high))
        case _:
            return Instruction(2, Kind.SYSTEM if h >> 9 == 0b1101111 else Kind.BRANCH)


def short_register(h: int) -> Instruction:
    """Data processing on registers, special data instructions, branch and exchange, load from the literal pool."""
    low, middle = h & 7, h >> 3 & 7
    if h >> 11 == 0b01001:
        return Instruction(2, Kind.LOAD, 0, bits(h >> 8 & 7))
    if h >> 10 == 0b010000:
        operation = h >> 6 & 15
        reads = bits(middle) if operation in (9, 15) else bits(low, middle)
        writes = 0 if operation in (8, 10, 11) else bits(low)
        return Instruction(2, Kind.MULTIPLY if operation == 13 else Kind.ALU, reads, writes)
    source, target, operation = h >> 3 & 15, low | h >> 4 & 8, h >> 8 & 3
    if operation == 3 or (target == PC and operation != 1):
        return Instruction(2, Kind.INDIRECT, bits(source))
    reads = bits(source) if operation == 2 else bits(source, target)
    return Instruction(2, Kind.ALU, reads, 0 if operation == 1 else bits(target))


def short_miscellaneous(h: int) -> Instruction:
    if h & 0xF500 == 0xB100:  # compare and branch on zero
        return Instruction(2, Kind.BRANCH, bits(h & 7))
    match h >> 8 & 15:
        case 0:
            return Instruction(2, Kind.ALU, bits(SP), bits(SP))
        case 2 | 10:
            return Instruction(2, Kind.ALU, bits(h >> 3 & 7), bits(h & 7))
        case 4 | 5:
            return many(2, False, h & 0xFF | (h & 0x100) << 6, bits(SP))
        case 12 | 13:
            return many(2, True, h & 0xFF | (h & 0x100) << 7, bits(SP))
        case 15:
            return Instruction(2, Kind.IT if h & 15 else Kind.SYSTEM)
        case _:
            return Instruction(2, Kind.SYSTEM)


def transfer(size: int, kind: Kind, register: int, address: int) -> Instruction:
    if kind is Kind.STORE:
        return Instruction(size, kind, address | bits(register))
    return Instruction(size, Kind.INDIRECT if register == PC else kind, address, bits(register))


def many(size: int, load: bool, registers: int, base: int) -> Instruction:
    """LDM, STM, PUSH, POP. A load of the program counter is a branch that moves as many words."""
    words = registers.bit_count()
    if not load:
        return Instruction(size, Kind.STORE_MANY, base | registers, base, words)
    kind = Kind.INDIRECT if registers >> PC & 1 else Kind.LOAD_MANY
    return Instruction(size, kind, base, base | registers, words)


def long(h: int, k: int) -> Instruction:
    """A 32-bit instruction (A5.3), `h` its first halfword."""
    operation = h >> 4 & 0x7F
    if operation & 0x40 and h >> 11 != 0b11110:
        return coprocessor(h, k)
    match h >> 11 & 3:
        case 1:
            return long_store_or_shift(h, k, operation)
        case 2:
            return branch_or_control(h, k) if k & 0x8000 else immediate(h, k)
        case _:
            return long_register(h, k, operation)


def long_store_or_shift(h: int, k: int, operation: int) -> Instruction:
    base, load = h & 15, bool(h & 0x10)
    if operation & 0x20:
        packs = h & 0xFFE0 == 0xEAC0
        return arithmetic(Kind.DSP if packs else Kind.ALU, h, k, bits(k & 15))
    if not operation & 4:
        return many(4, load, k, bits(base))
    if h & 0xFFF0 == 0xE8D0 and k & 0xFFE0 == 0xF000:  # table branch
        return Instruction(4, Kind.INDIRECT, bits(base, k & 15))
    pair = bits(k >> 12, k >> 8 & 15)
    if load:
        return Instruction(4, Kind.LOAD_MANY, bits(base), pair, 2)
    return Instruction(4, Kind.STORE_MANY, pair | bits(base), 0, 2)


def arithmetic(kind: Kind, h: int, k: int, operand: int) -> Instruction:
    """Rn in the first halfword, Rd in the second; register 15 stands for none of either."""
    first, result = h & 15, k >> 8 & 15
    reads = operand | (0 if first == PC else bits(first))
    return Instruction(4, kind, reads, 0 if result == PC else bits(result))


def immediate(h: int, k: int) -> Instruction:
    saturates = h & 0xFF50 == 0xF300  # SSAT, USAT and their 16-bit forms
    inserts = h & 0xFFF0 == 0xF360 or h & 0xFBF0 == 0xF2C0  # BFI and MOVT keep a part of what they write
    moves = h & 0xFBF0 == 0xF240
    kept = bits(k >> 8 & 15) if inserts else 0
    found = arithmetic(Kind.DSP if saturates else Kind.ALU, h, k, kept)
    return Instruction(4, found.kind, kept, found.writes) if moves or h & 0xFBF0 == 0xF2C0 else found


def branch_or_control(h: int, k: int) -> Instruction:
    if k & 0xD000 == 0xC000:
        return Instruction(4, Kind.LOOP)
    if k & 0x5000 == 0 and h & 0x380 == 0x380:
        return Instruction(4, Kind.SYSTEM)
    return Instruction(4, Kind.BRANCH)


def long_register(h: int, k: int, operation: int) -> Instruction:
    register = k >> 12
    if operation < 0x20:
        indexed = bits(k & 15) if not k & 0x800 and not h & 0x80 else 0
        base = 0 if h & 15 == PC else bits(h & 15)
        return transfer(4, Kind.LOAD if operation & 1 else Kind.STORE, register, base | indexed)
    if operation & 0x78 == 0x38:
        return long_multiply(h, k)
    if operation & 0x78 == 0x30:
        addend = 0 if register == PC else bits(register)
        found = arithmetic(Kind.MULTIPLY, h, k, bits(k & 15))
        return Instruction(4, Kind.MULTIPLY, found.reads | addend, found.writes, addend=addend)
    widens = (h & 0xFFE0 == 0xFA20 and k & 0x80) or h >= 0xFA80
    return arithmetic(Kind.DSP if widens else Kind.ALU, h, k, bits(k & 15))


def long_multiply(h: int, k: int) -> Instruction:
    operands = bits(h & 15, k & 15)
    if h & 0xFFD0 == 0xFB90:
        return Instruction(4, Kind.DIVIDE, operands, bits(k >> 8 & 15))
    result = bits(k >> 12, k >> 8 & 15)
    addend = result if h & 0x40 else 0
    return Instruction(4, Kind.MULTIPLY, operands | addend, result, addend=addend)


def coprocessor(h: int, k: int) -> Instruction:
    """Floating point (coprocessors 9 to 11) and Helium, which has the rest of the coprocessor space to itself."""
    unit, load = k >> 8 & 15, bool(h & 0x10)
    scalar = unit in (9, 10, 11) and h >> 8 not in (0xEF, 0xFF)
    if h >> 8 & 0x0F in (0xC, 0xD):
        if scalar and h & 0xFF20 == 0xED00:
            return Instruction(4, Kind.LOAD if load else Kind.STORE, bits(h & 15))
        if scalar and h & 0xFFE0 == 0xEC40:
            return Instruction(4, Kind.FLOAT)
        if scalar:
            return Instruction(4, Kind.LOAD_MANY if load else Kind.STORE_MANY, bits(h & 15), words=max(1, k & 0xFF))
        if k & 0x1E00 == 0x1E00:
            return Instruction(4, Kind.VECTOR_LOAD if load else Kind.VECTOR_STORE, bits(h & 15))
        return Instruction(4, Kind.VECTOR)
    if not scalar:
        return Instruction(4, Kind.VECTOR)
    if k & 0x10:  # a move from or to a core register; VDUP is Helium's
        return Instruction(4, Kind.VECTOR if h & 0xFFB0 == 0xEEA0 else Kind.FLOAT)
    operation = h & 0xFFB0
    if operation == 0xEE80 or (h & 0xFFBF == 0xEEB1 and k & 0xC0 == 0xC0):
        return Instruction(4, Kind.FLOAT_DIVIDE)
    accumulates = operation in (0xEE00, 0xEE10, 0xEE90, 0xEEA0)
    return Instruction(4, Kind.FLOAT_ACCUMULATE if accumulates else Kind.FLOAT)
