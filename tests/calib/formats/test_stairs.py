"""An int8 quantizer and a table are nearly as good as the format's own rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.calib.formats.format import INT8, parse
from bevel.calib.formats.scheme import Scheme
from bevel.calib.formats.stairs import climbed, stairs
from bevel.calib.observe.statistics import Statistics

FORMATS = ["e2m1", "e2m3", "log3", "log4", "apot5k2", "ternary"]
RNG = np.random.default_rng(5)
SAMPLES = {
    "normal": RNG.standard_normal(20000),
    "positive": np.maximum(RNG.standard_normal(20000), 0),
    "negative": -np.abs(RNG.laplace(size=20000)),
    "off center": RNG.uniform(-1, 5, 20000),
}


def scheme(name: str) -> Scheme:
    return Scheme(parse(name), symmetric=True)


def observed(x: np.ndarray) -> Statistics:
    return Statistics.of(x.astype(np.float32)[np.newaxis])


@pytest.mark.parametrize("x", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("name", FORMATS)
def test_two_roundings_cost_little_more_than_the_best_one(name: str, x: np.ndarray) -> None:
    format = parse(name)
    error = np.square(climbed(x, stairs(observed(x), scheme(name))) - x).mean()
    scales = np.geomspace(0.02, 1.2, 200) * np.abs(x).max() / format.high
    best = min(np.square(format.round(x / scale) * scale - x).mean() for scale in scales)
    # E2M3 in both directions leaves two int8 steps for its smallest: a quarter of a step at the borders.
    assert error <= 1.2 * best


@settings(max_examples=25)
@given(st.sampled_from([*FORMATS, "binary"]), st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1))
def test_the_table_holds_ascending_steps_of_the_format_and_zero_for_zero(name: str, reals: list[float]) -> None:
    found = stairs(observed(np.array(reals)), scheme(name))
    assert np.isin(found.table, scheme(name).levels.array).all()
    assert (np.diff(found.table.astype(int)) >= 0).all()
    assert name == "binary" or found.table[int(found.first.zero_point) - INT8.low] == found.last.zero_point
    assert found.first.scheme.format == INT8


@pytest.mark.parametrize(("sign", "zero_point"), [(1, -16), (-1, 16)])
def test_what_has_one_sign_uses_the_dense_steps_on_both_sides(sign: int, zero_point: int) -> None:
    """A fifth of the error, 1 dB, and more."""
    x, shape = sign * np.abs(RNG.standard_normal(20000)), scheme("e2m3")
    found = stairs(observed(x), shape)
    assert found.last.zero_point == zero_point and not stairs(observed(RNG.standard_normal(999)), shape).last.zero_point
    scales = np.geomspace(0.02, 1.2, 200) * np.abs(x).max() / shape.format.high
    best = min(np.square(shape.format.round(x / scale) * scale - x).mean() for scale in scales)
    assert np.square(climbed(x, found) - x).mean() < 0.8 * best
    np.testing.assert_array_equal(found.last.fake(x.astype(np.float32)), found.last.dequantize(found.last.quantize(x)))


def test_what_clipped_values_count_keeps_them_and_a_factor_scales_what_was_found() -> None:
    x = np.concatenate([RNG.standard_normal(20000), [30.0]])
    plain, kept, half = (stairs(observed(x), scheme("e2m1"), *given) for given in ((1.0,), (1e6,), (1.0, 0.5)))
    top = [float(one.last.scale) * one.last.scheme.high for one in (plain, kept, half)]
    assert top[0] < 20 and top[1] > 25 and top[2] == pytest.approx(top[0] / 2, rel=1e-5)


def test_what_was_always_zero_gets_scale_one() -> None:
    assert stairs(observed(np.zeros(9)), scheme("e2m1")).last.scale == 1


def test_integers_and_empty_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="equal steps"):
        stairs(observed(np.ones(3)), Scheme(INT8))
    with pytest.raises(ValueError, match="no value"):
        stairs(Statistics.empty(), scheme("e2m1"))
