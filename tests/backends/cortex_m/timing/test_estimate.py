"""Cycles of hand-made code on each core, against sums done by hand from the sources that cores.py names."""

from __future__ import annotations

import pytest

from bevel.backends import target
from bevel.backends.cortex_m.timing.cores import CORES
from bevel.backends.cortex_m.timing.estimate import Block, block_cycles, total_cycles
from bevel.backends.cortex_m.timing.thumb import Instruction, Kind, bits


def alu(result: int, *operands: int) -> Instruction:
    return Instruction(2, Kind.ALU, bits(*operands), bits(result))


def load(result: int, base: int = 8) -> Instruction:
    return Instruction(2, Kind.LOAD, bits(base), bits(result))


def accumulate(result: int, *operands: int) -> Instruction:
    return Instruction(4, Kind.MULTIPLY, bits(result, *operands), bits(result), addend=bits(result))


def cycles(core: str, *code: Instruction) -> int:
    return block_cycles(code, CORES[core])


def test_m4_loads_in_a_row_take_one_cycle_after_the_first() -> None:
    assert cycles("cortex-m4", load(0), load(1), load(2)) == 4
    assert cycles("cortex-m4", load(0), alu(3, 3), load(1)) == 5


def test_m4_multiplies_in_one_cycle_and_moves_a_word_a_cycle() -> None:
    assert cycles("cortex-m4", accumulate(0, 1, 2), accumulate(0, 1, 2)) == 2
    assert cycles("cortex-m4", Instruction(2, Kind.LOAD_MANY, bits(0), bits(1, 2, 3), words=3)) == 4


def test_m33_waits_a_cycle_for_a_load_only_where_its_result_is_next() -> None:
    assert cycles("cortex-m33", load(0), alu(1, 0)) == 3
    assert cycles("cortex-m33", load(0), alu(2, 3), alu(1, 0)) == 3


def test_m7_starts_two_independent_instructions_together() -> None:
    assert cycles("cortex-m7", alu(0, 1), alu(2, 3)) == 1
    assert cycles("cortex-m7", alu(0, 1), alu(2, 0)) == 2
    assert cycles("cortex-m7", *[alu(0, 1), alu(2, 3)] * 3) == 3


def test_m7_has_one_multiplier_and_one_way_to_memory() -> None:
    assert cycles("cortex-m7", accumulate(0, 4, 5), accumulate(1, 4, 5)) == 2
    assert cycles("cortex-m7", load(0), load(1)) == 2
    assert cycles("cortex-m7", load(0), accumulate(1, 4, 5)) == 1


def test_m7_uses_a_load_two_cycles_later_but_adds_to_a_sum_at_once() -> None:
    assert cycles("cortex-m7", load(0), alu(1, 0)) == 3
    assert cycles("cortex-m7", *[accumulate(0, 4, 5)] * 4) == 4


def test_m55_vectors_take_two_cycles_and_overlap_across_units() -> None:
    fetch, sum_up = Instruction(4, Kind.VECTOR_LOAD), Instruction(4, Kind.VECTOR)
    assert cycles("cortex-m55", sum_up, sum_up) == 4
    assert cycles("cortex-m55", fetch, sum_up, fetch, sum_up) == 5


def test_a_branch_costs_a_refill_only_where_it_is_taken() -> None:
    code = bytes.fromhex("0138fdd1")  # subs r0, #1; bne
    loop = Block(0, 4, executed=10, fell_through=1)
    assert total_cycles([loop], lambda address, size: code, CORES["cortex-m4"]) == 10 * 2 + 9 * 2
    assert total_cycles([loop], lambda address, size: code, CORES["cortex-m7"]) == 10


@pytest.mark.parametrize("core", CORES)
def test_every_described_core_is_a_target_with_a_clock(core: str) -> None:
    assert core in {found.cpu for found in map(target.load, target.names()) if found.clock_hz}
