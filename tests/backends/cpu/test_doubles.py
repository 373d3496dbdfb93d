"""Where no product lies on a half, rounding to even, as a fused addition of doubles does it, is rounding half up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.cpu.x86.doubles import never_on_a_half
from bevel.calib.arithmetic.requantize import Output

WIDE = Output(0, -(2**31), 2**31 - 1, "int32")
OUTPUTS = [WIDE, Output(-7), Output(100, -20, 90), Output(3, -(2**15), 2**15 - 1, "int16")]


def half_up(product: int, shift: int) -> int:
    return (product + (1 << (shift - 1))) >> shift


def half_even(product: int, shift: int) -> int:
    whole, rest = divmod(product, 1 << shift)
    half = 1 << (shift - 1)
    return whole + (rest > half or (rest == half and whole % 2 == 1))


def claimed(reach: int, multiplier: int, shift: int, output: Output = WIDE) -> bool:
    return never_on_a_half(np.array([reach]), np.array([multiplier], np.int32), np.array([shift], np.int8), output)


@given(st.integers(0, 2**31 - 1), st.integers(0, 30), st.data(), st.integers(1, 62), st.sampled_from(OUTPUTS))
def test_what_is_claimed_rounds_alike(reach: int, powers: int, data: st.DataObject, shift: int, output: Output) -> None:
    """Of sums on a half, where there are any, and of others."""
    odd = data.draw(st.integers(0, 2 ** (31 - powers) - 1)) | 1
    multiplier = odd << powers
    if not claimed(reach, multiplier, shift, output):
        return
    on_half = 2 ** max(0, shift - 1 - powers)
    for total in (reach, on_half, 3 * on_half, on_half - 1, reach // on_half * on_half):
        for one in (total, -total):
            if total <= reach:
                results = (half_up(one * multiplier, shift), half_even(one * multiplier, shift))
                up, even = (min(max(result + output.zero_point, output.low), output.high) for result in results)
                assert up == even


@pytest.mark.parametrize("shift", [1, 31, 40, 61])
def test_the_first_sum_on_a_half_ends_the_claim(shift: int) -> None:
    multiplier = 2 ** min(shift - 1, 30)
    first = 2 ** (shift - 1) // multiplier
    assert claimed(first - 1, multiplier, shift)
    assert not claimed(first, multiplier, shift)
    assert {half_up(one * multiplier, shift) - half_even(one * multiplier, shift) for one in (first, -first)} == {0, 1}


@pytest.mark.parametrize("multiplier", [2**30 + 2**20, 2**31 - 2**12])
def test_sums_on_a_half_that_the_clamp_cuts_off_leave_the_claim(multiplier: int) -> None:
    assert claimed(2**31 - 1, multiplier, 33, Output())
    assert not claimed(2**31 - 1, multiplier, 33)


def test_outputs_that_are_multiplied_by_nothing_never_lie_on_a_half() -> None:
    assert claimed(2**31 - 1, 0, 1)
