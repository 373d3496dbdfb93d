"""How often a Softmax looks exponentials up: in place, each store may have changed what a compiler had read before."""

from __future__ import annotations

import pytest

from bevel.backends.program.ops.softmax import Mask, Softmax
from bevel.backends.tir.kernels.softmax import MOST_HELD, build
from bevel.backends.tir.raw_abi import c_source
from bevel.calib.arithmetic.requantize import Output


def look_ups(n: int, mask: Mask | None = None) -> int:
    source = c_source({"k": build(Softmax(4, n, Output(-128), mask), "k")}, frozenset({"k"}))
    return source.count("E_p[")


@pytest.mark.parametrize("n", [2, 10, MOST_HELD])
def test_exponentials_of_a_short_row_are_looked_up_once(n: int) -> None:
    assert look_ups(n) == 1


def test_those_of_a_long_row_and_of_one_with_a_mask_are_looked_up_again() -> None:
    assert look_ups(MOST_HELD + 1) == 2
    assert look_ups(8, Mask((4,), (4,), 8)) == look_ups(8, Mask((4,), (4,), 8, prefix=True)) == 2
