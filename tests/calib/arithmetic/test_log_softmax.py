"""The logarithm of a Softmax in integers is within its table's error of the real one."""

import numpy as np
import pytest

from bevel.calib.arithmetic.log_softmax import LOG_BITS, logarithm, sums
from bevel.calib.arithmetic.softmax import tables


def test_logarithm_is_within_a_straight_line_of_the_real_one() -> None:
    totals = np.unique(np.geomspace(1, 2**31 - 1, 5000).astype(np.int64))
    np.testing.assert_allclose(logarithm(totals) / 2.0**LOG_BITS, np.log(totals / 2.0**16), atol=2.0**-18)


@pytest.mark.parametrize("n", [1, 10, 1000])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_sums_of_rows_give_the_logarithm_of_a_softmax(n: int, dtype: str) -> None:
    limits, scale = np.iinfo(dtype), 0.05 if dtype == "int8" else 0.0005
    x = np.random.default_rng(n).integers(limits.min, limits.max, (4, n), dtype=dtype, endpoint=True)
    distance, total = sums(x, *tables(scale, 2 ** (8 * limits.bits // 8)))
    found = -scale * distance - logarithm(total) / 2.0**LOG_BITS
    reals = scale * x.astype(np.float64)
    expected = reals - np.log(np.exp(reals - reals.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected - reals.max(axis=1, keepdims=True), atol=2.0**-12)
