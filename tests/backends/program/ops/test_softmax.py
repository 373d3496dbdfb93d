"""The integer softmax keeps to its bounds and stays near the real one."""

import numpy as np
import pytest

from bevel.backends.program.ops.softmax import ENTRIES, Softmax, largest_entry
from bevel.calib.arithmetic.requantize import Output


def largest_number(entry: int, n: int) -> int:
    """What a row of n equal values, or one value alone above the rest, makes the kernel hold."""
    return max(n * entry, 256 * entry + n * entry // 2)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 512, 1001, 50257])
def test_the_largest_table_entry_is_the_last_that_fits_a_uint32(n: int) -> None:
    entry = largest_entry(n)
    assert largest_number(entry, n) < 2**32 <= largest_number(entry + 1, n)


def test_the_integer_softmax_is_within_one_step_of_the_real_one() -> None:
    scale, rows, n = 0.07, 50, 12
    x = np.random.default_rng(0).integers(-128, 128, (rows, n), dtype=np.int8)
    table = np.rint(2**22 * np.exp(-scale * np.arange(ENTRIES))).astype(np.int32)
    got = (Softmax(rows, n, Output(-128)).reference(x, table).astype(np.int32) + 128) / 256
    real = np.exp(scale * x.astype(np.float64))
    real /= real.sum(axis=1, keepdims=True)
    # Half a step of rounding, and a whole one where 256 is clamped to 255.
    assert np.abs(got - real).max() <= 1 / 256
