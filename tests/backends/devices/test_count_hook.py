"""The block counter against unicorn's own instruction hook, on hand-assembled Thumb and RISC-V code."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bevel.backends.binary import toolchain
from bevel.backends.binary.toolchain import Toolchain
from bevel.backends.devices import count_hook, shared_library

unicorn = pytest.importorskip("unicorn")
if shared_library.host_compiler() is None:
    pytest.skip("no C compiler for this machine", allow_module_level=True)

CODE, RAM, SIZE = 0x0, 0x20000000, 1 << 20
NOP, WIDE_NOP = bytes.fromhex("00bf"), bytes.fromhex("aff30080")
MOVS_R0_5, SUBS_R0_1, BNE_BACK_6 = bytes.fromhex("0520"), bytes.fromhex("0138"), bytes.fromhex("fdd1")
PUSH_LR, POP_PC, BX_LR = bytes.fromhex("00b5"), bytes.fromhex("00bd"), bytes.fromhex("7047")
IT_EQ = bytes.fromhex("08bf")


def bl(at: int, to: int) -> bytes:
    """The branch with link at address `at` (encoding T1, forward, below 4 MB)."""
    offset = to - (at + 4)
    return (0xF000 | offset >> 12 & 0x3FF).to_bytes(2, "little") + (0xF800 | offset >> 1 & 0x7FF).to_bytes(2, "little")


def machine(pieces: dict[int, bytes]) -> Any:
    from unicorn import arm_const

    uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
    uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M4)
    uc.mem_map(CODE, SIZE)
    uc.mem_map(RAM, SIZE)
    for address, code in pieces.items():
        uc.mem_write(address, code)
    uc.reg_write(arm_const.UC_ARM_REG_SP, RAM + SIZE)
    return uc


def counted_both_ways(pieces: dict[int, bytes], until: int) -> tuple[int, int]:
    """Instructions from address 0, by the block hook and by unicorn's hook on every instruction."""
    uc = machine(pieces)
    counter = count_hook.attach(uc, run=SIZE - 2, calls=[], runs=0)
    executed: list[int] = []
    uc.hook_add(unicorn.UC_HOOK_CODE, lambda engine, address, size, data: executed.append(address))
    uc.emu_start(CODE | 1, until)
    return counter.instructions, len(executed)


RISCV_CODE = 0x80000000
C_NOP, WIDE_RISCV_NOP, FENCE_I = bytes.fromhex("0100"), bytes.fromhex("13000000"), bytes.fromhex("0f100000")
LI_A1_5, ADDI_A1_MINUS_1, BNEZ_A1_BACK_2 = bytes.fromhex("93055000"), bytes.fromhex("fd15"), bytes.fromhex("fdfd")
C_LI_A0_MINUS_1 = bytes.fromhex("7d55")  # its first byte has the lowest bits of a compressed instruction, not its last


@pytest.mark.parametrize(
    ("code", "instructions"),
    [
        (C_NOP + WIDE_RISCV_NOP * 700 + C_NOP, 702),
        (C_NOP * 300 + C_LI_A0_MINUS_1 + FENCE_I + WIDE_RISCV_NOP, 303),
        (LI_A1_5 + ADDI_A1_MINUS_1 + BNEZ_A1_BACK_2 + C_NOP, 12),
        (C_NOP * 2047 + WIDE_RISCV_NOP + C_NOP, 2049),  # one instruction lies across the end of a page
    ],
)
def test_riscv_instructions_are_told_apart_by_their_lowest_bits(code: bytes, instructions: int) -> None:
    uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
    uc.mem_map(RISCV_CODE, SIZE)
    uc.mem_write(RISCV_CODE, code)
    counter = count_hook.attach(uc, run=SIZE - 2, calls=[], runs=0, code=count_hook.RISCV)
    executed: list[int] = []
    uc.hook_add(unicorn.UC_HOOK_CODE, lambda engine, address, size, data: executed.append(address))
    uc.emu_start(RISCV_CODE, RISCV_CODE + len(code))
    assert counter.instructions == len(executed) == instructions


def test_blocks_longer_than_the_buffer_with_wide_instructions_across_its_end() -> None:
    code = NOP + WIDE_NOP * 700 + NOP
    counted, executed = counted_both_ways({0: code}, until=len(code))
    assert counted == executed == 702


def test_conditional_instructions_count_whether_or_not_they_are_skipped() -> None:
    code = MOVS_R0_5 + IT_EQ + WIDE_NOP + SUBS_R0_1 + IT_EQ + SUBS_R0_1 + NOP
    counted, _ = counted_both_ways({0: code}, until=len(code))
    assert counted == 7


def test_blocks_that_share_a_place_in_the_table_are_told_apart() -> None:
    far = 0x20000  # 65536 halfwords on
    pieces = {0: bl(0, far) + bl(4, far) + NOP, far: NOP * 3 + BX_LR}
    counted, executed = counted_both_ways(pieces, until=10)
    assert counted == executed == 11


def test_a_loop_counts_each_time_round() -> None:
    counted, executed = counted_both_ways({0: MOVS_R0_5 + SUBS_R0_1 + BNE_BACK_6 + NOP}, until=8)
    assert counted == executed == 12


RUN, FIRST, SECOND = 0x100, 0x200, 0x300
LOOP = SUBS_R0_1 + BNE_BACK_6 + BX_LR  # its branch goes to its first instruction
TWICE = {
    0: MOVS_R0_5 + NOP + bl(4, RUN) + MOVS_R0_5 + NOP + bl(12, RUN) + NOP,
    RUN: PUSH_LR + bl(RUN + 2, FIRST) + MOVS_R0_5 + bl(RUN + 8, SECOND) + POP_PC,
    FIRST: LOOP,
    SECOND: NOP + BX_LR,
}


def marks(pieces: dict[int, bytes], calls: list[int]) -> list[list[int]]:
    uc = machine(pieces)
    counter = count_hook.attach(uc, RUN, calls, runs=2)
    uc.emu_start(CODE | 1, 18)
    return [[int(count) - int(row[0]) for count in row] for row in counter.runs()]


def test_marks_stand_at_the_entry_of_each_call_and_at_the_return() -> None:
    # push, bl | 5 x (subs, bne), bx, movs, bl | nop, bx, pop
    assert marks(TWICE, [FIRST, SECOND]) == [[0, 2, 15, 18]] * 2


def test_two_calls_of_one_kernel_are_two_calls() -> None:
    pieces = TWICE | {RUN: PUSH_LR + bl(RUN + 2, FIRST) + MOVS_R0_5 + bl(RUN + 8, FIRST) + POP_PC}
    assert marks(pieces, [FIRST, FIRST]) == [[0, 2, 15, 27]] * 2


@pytest.mark.parametrize("calls", [[SECOND, FIRST], [FIRST, SECOND, SECOND], [FIRST, FIRST]])
def test_calls_in_another_order_or_number_are_refused(calls: list[int]) -> None:
    with pytest.raises(RuntimeError, match=r"did not call the [23] kernels in order"):
        marks({**TWICE, 0x400: LOOP}, calls)


@pytest.mark.parametrize("compiler", [toolchain.gcc("gcc", ()), toolchain.zig(toolchain.ZIG_FLAGS)], ids=["gcc", "zig"])
def test_builds_at_the_same_time_leave_one_good_library(tmp_path: Path, compiler: Toolchain | None) -> None:
    if compiler is None:
        pytest.skip("this compiler is not installed")
    source = (Path(count_hook.__file__).parent / count_hook.SOURCE).read_bytes()
    library = tmp_path / "count_hook.so"
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: shared_library.build(compiler, source, library), range(2)))
    assert [path.name for path in tmp_path.iterdir()] == ["count_hook.so"]
    assert ctypes.CDLL(str(library)).counter_bytes() > 0


def test_blocks_of_inferences_are_counted_and_where_they_fell_through() -> None:
    uc = machine(TWICE)
    counter = count_hook.attach(uc, RUN, [FIRST, SECOND], runs=2)
    uc.emu_start(CODE | 1, 18)
    blocks = {block.address: block for block in counter.blocks()}
    assert min(blocks) >= RUN, "what is outside inferences does not count"
    loop = [block for block in counter.blocks() if block.address <= FIRST < block.address + block.size]
    assert sum(block.executed for block in loop) == 2 * 5 and sum(block.fell_through for block in loop) == 2
    assert sum(block.executed * block.size for block in blocks.values()) == 2 * (2 * 18 + 2 * 2)  # two of 18 are wide
