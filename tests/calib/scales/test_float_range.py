"""The searched scale of a minifloat activation is better than the one that clips nothing."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.formats.format import INT8, parse
from bevel.calib.formats.scheme import Scheme
from bevel.calib.observe.statistics import Statistics
from bevel.calib.scales.float_range import float_quant, with_scale


def seen(values: np.ndarray) -> Statistics:
    return Statistics.of(values)


@pytest.mark.parametrize("name", ["e3m2", "e4m3", "e3m4"])
def test_the_scale_found_beats_that_of_the_largest_value(name: str) -> None:
    values = np.random.default_rng(0).laplace(size=(1, 4, 5000)).astype(np.float32)
    scheme = Scheme(parse(name), symmetric=True)
    found, plain = float_quant(seen(values), scheme), with_scale(float(np.abs(values).max()) / scheme.high, scheme)
    errors = [float(np.square(one.fake(values) - values).mean()) for one in (found, plain)]
    assert errors[0] <= errors[1]
    signal = float(np.square(values).mean())
    assert 10 * np.log10(signal / errors[0]) > 6 * (parse(name).mantissa + 1)  # type: ignore[union-attr]


def test_a_tensor_of_zeros_has_scale_1() -> None:
    quant = float_quant(seen(np.zeros((1, 2, 3), np.float32)), Scheme(parse("e3m2"), symmetric=True))
    assert (float(quant.scale), quant.zero_point.dtype) == (1.0, np.int16)


def test_formats_of_equal_steps_are_not_searched_here() -> None:
    with pytest.raises(ValueError, match="int8 has equal steps"):
        float_quant(seen(np.ones((1, 2, 3), np.float32)), Scheme(INT8))
