"""Instructions by kind and registers; encodings from an assembler."""

from __future__ import annotations

import pytest

from bevel.backends.cortex_m.timing.thumb import Kind, bits, decode

SHORT = [
    (0x1888, Kind.ALU, {1, 2}, {0}),  # adds r0, r1, r2
    (0x3101, Kind.ALU, {1}, {1}),  # adds r1, #1
    (0x2105, Kind.ALU, set(), {1}),  # movs r1, #5
    (0x2905, Kind.ALU, {1}, set()),  # cmp r1, #5
    (0x4348, Kind.MULTIPLY, {0, 1}, {0}),  # muls r0, r1
    (0x4240, Kind.ALU, {0}, {0}),  # negs r0, r0
    (0x46C8, Kind.ALU, {9}, {8}),  # mov r8, r9
    (0x4770, Kind.INDIRECT, {14}, set()),  # bx lr
    (0x4801, Kind.LOAD, set(), {0}),  # ldr r0, [pc, #4]
    (0x5888, Kind.LOAD, {1, 2}, {0}),  # ldr r0, [r1, r2]
    (0x7008, Kind.STORE, {0, 1}, set()),  # strb r0, [r1]
    (0x9802, Kind.LOAD, {13}, {0}),  # ldr r0, [sp, #8]
    (0xB108, Kind.BRANCH, {0}, set()),  # cbz r0
    (0xBF08, Kind.IT, set(), set()),  # it eq
    (0xBF00, Kind.SYSTEM, set(), set()),  # nop
    (0xD1FD, Kind.BRANCH, set(), set()),  # bne
    (0xE7FE, Kind.BRANCH, set(), set()),  # b
]
LONG = [
    ("02fb0310", Kind.MULTIPLY, {2, 3, 1}, {0}),  # mla r0, r2, r3, r1
    ("21fb0230", Kind.MULTIPLY, {1, 2, 3}, {0}),  # smlad r0, r1, r2, r3
    ("81fb0203", Kind.MULTIPLY, {1, 2}, {0, 3}),  # smull r0, r3, r1, r2
    ("91fbf2f0", Kind.DIVIDE, {1, 2}, {0}),  # sdiv r0, r1, r2
    ("2ffa81f0", Kind.DSP, {1}, {0}),  # sxtb16 r0, r1
    ("21fa02f0", Kind.ALU, {1, 2}, {0}),  # lsr.w r0, r1, r2
    ("c1ea0240", Kind.DSP, {1, 2}, {0}),  # pkhbt r0, r1, r2, lsl #16
    ("01f30700", Kind.DSP, {1}, {0}),  # ssat r0, #8, r1
    ("51f82200", Kind.LOAD, {1, 2}, {0}),  # ldr.w r0, [r1, r2, lsl #2]
    ("c1f80400", Kind.STORE, {0, 1}, set()),  # str.w r0, [r1, #4]
    ("d1e90023", Kind.LOAD_MANY, {1}, {2, 3}),  # ldrd r2, r3, [r1]
    ("01eb0200", Kind.ALU, {1, 2}, {0}),  # add.w r0, r1, r2
    ("b1f5807f", Kind.ALU, {1}, set()),  # cmp.w r1, #256
    ("40f20110", Kind.ALU, set(), {0}),  # movw r0, #257
    ("00f000f8", Kind.BRANCH, set(), set()),  # bl
    ("bff36f8f", Kind.SYSTEM, set(), set()),  # isb
    ("0ff001c8", Kind.LOOP, set(), set()),  # le
    ("30ee200a", Kind.FLOAT, set(), set()),  # vadd.f32 s0, s0, s1
    ("80ee200a", Kind.FLOAT_DIVIDE, set(), set()),  # vdiv.f32 s0, s0, s1
    ("a0ee200a", Kind.FLOAT_ACCUMULATE, set(), set()),  # vfma.f32 s0, s0, s1
    ("f2ee220e", Kind.VECTOR, set(), set()),  # vmladava.s8
    ("91ec001e", Kind.VECTOR_LOAD, {1}, set()),  # vldrb.8 q0, [r1]
]


@pytest.mark.parametrize(("code", "kind", "reads", "writes"), SHORT)
def test_a_16_bit_instruction(code: int, kind: Kind, reads: set[int], writes: set[int]) -> None:
    (found,) = decode(code.to_bytes(2, "little"))
    assert (found.size, found.kind, found.reads, found.writes) == (2, kind, bits(*reads), bits(*writes))


@pytest.mark.parametrize(("code", "kind", "reads", "writes"), LONG)
def test_a_32_bit_instruction(code: str, kind: Kind, reads: set[int], writes: set[int]) -> None:
    (found,) = decode(bytes.fromhex(code))
    assert (found.size, found.kind, found.reads, found.writes) == (4, kind, bits(*reads), bits(*writes))


def test_pushes_and_pops_say_how_many_words_they_move() -> None:
    push, pop = decode(bytes.fromhex("70b570bd"))  # push {r4-r6, lr}; pop {r4-r6, pc}
    assert (push.kind, push.words) == (Kind.STORE_MANY, 4)
    assert (pop.kind, pop.words) == (Kind.INDIRECT, 4)


def test_an_accumulating_multiplication_names_its_addend() -> None:
    (found,) = decode(bytes.fromhex("21fb0230"))
    assert found.addend == bits(3)
