"""What holds for every kind of observation, found by its file: however samples are split, and what each one says."""

from __future__ import annotations

from importlib import import_module
from itertools import permutations
from pkgutil import iter_modules

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import bevel.calib.observe as room
from bevel.calib.arithmetic.float_cell import FloatCell
from bevel.calib.arithmetic.gate_functions import gate_functions
from bevel.calib.observe.base import NotFiniteError, Observation, Want
from bevel.calib.observe.channel_range import ChannelRange
from bevel.calib.observe.extremes import Extremes
from bevel.calib.observe.histogram import Histogram
from bevel.calib.observe.inputs import Inputs
from bevel.calib.observe.mean import Mean
from bevel.calib.observe.recurrent_range import RecurrentRange

NORMALS = np.random.default_rng(5).standard_normal
CELL = FloatCell(
    "LSTM",
    NORMALS((8, 3)),
    NORMALS((8, 2)),
    NORMALS(16),
    np.zeros(0),
    gate_functions(("Sigmoid", "Tanh", "Tanh"), (), ()),
)
WANTS = {
    "range": Want(Histogram),
    "extremes": Want(Extremes, (-1,)),
    "mean": Want(Mean, (1,)),
    "mean of the last axis": Want(Mean, (-1,)),
    "channel range": Want(ChannelRange, (1,)),
    "inputs": Want(Inputs, (3,)),
    "recurrent range": Want(RecurrentRange, (CELL, 2)),
    "paired inputs": Want(Inputs, (2,), beside=("other",)),
}
CELLS = (RecurrentRange,)  # whose weights know the channels
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TENSORS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.just(3), st.just(4)), elements=FLOATS | st.floats(-9, 9, width=32)
)


def seen(want: Want, x: np.ndarray) -> Observation:
    return want.of(x, *[np.abs(x) for _ in want.beside])


def test_every_file_of_the_room_is_tested_here() -> None:
    modules = [import_module(f"{room.__name__}.{module.name}") for module in iter_modules(room.__path__)]
    kinds = {
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Observation) and one is not Observation
    }
    assert kinds == {want.kind for want in WANTS.values()}


@pytest.mark.parametrize("want", WANTS.values(), ids=WANTS)
@settings(max_examples=40)
@given(x=TENSORS, data=st.data())
def test_any_split_in_any_order_says_the_same(want: Want, x: np.ndarray, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4)))
    first, *others = (seen(want, part) for part in data.draw(st.permutations(np.split(x, cuts))))
    for one in others:
        first = first.merge(one)
    assert first == seen(want, x)


@pytest.mark.parametrize("want", WANTS.values(), ids=WANTS)
def test_merging_is_associative(want: Want) -> None:
    rng = np.random.default_rng(1)
    a, b, c = (seen(want, rng.standard_normal((4, 3, 4)).astype(np.float32)) for _ in range(3))
    merged = a.merge(b).merge(c)
    assert merged == a.merge(b.merge(c))
    assert any(merged != one for one in (a, b, c))


@pytest.mark.parametrize("want", WANTS.values(), ids=WANTS)
def test_batches_of_a_large_tensor_say_the_same_as_single_samples(want: Want) -> None:
    x = np.random.default_rng(0).standard_normal((12, 3, 331)).astype(np.float32) ** 3
    for batch in (1, 3, 4):
        parts = [seen(want, x[start : start + batch]) for start in range(0, 12, batch)]
        merged = parts[0]
        for part in parts[1:]:
            merged = merged.merge(part)
        assert merged == seen(want, x)


@pytest.mark.parametrize("want", [one for one in WANTS.values() if one.kind is not Extremes], ids=str)
@pytest.mark.parametrize(("value", "row"), [(np.nan, 2), (np.inf, 0), (-np.inf, 1)])
def test_a_value_that_is_not_finite_is_located(want: Want, value: float, row: int) -> None:
    x = np.ones((3, 3, 4), np.float32)
    x[row, 1, 3] = value
    with pytest.raises(NotFiniteError) as caught, np.errstate(invalid="ignore"):
        seen(want, x)
    assert caught.value.row == row and not np.isfinite(caught.value.value)


@pytest.mark.parametrize(
    "want", [one for one in WANTS.values() if one.kind not in (Histogram, Extremes, Inputs, *CELLS)], ids=str
)
def test_tensors_of_other_channels_do_not_merge(want: Want) -> None:
    with pytest.raises(ValueError, match="do not merge"):
        seen(want, np.ones((1, 3, 4), np.float32)).merge(seen(want, np.ones((1, 6, 5), np.float32)))


@pytest.mark.parametrize("want", [one for one in WANTS.values() if one.kind.large], ids=str)
def test_what_is_held_stays_within_the_size_that_is_told(want: Want) -> None:
    x = (2.0**60 * np.random.default_rng(0).standard_normal((50, 3, 4))).astype(np.float32)
    found = seen(want, x)
    told = want.kind.size([x.shape] * (1 + len(want.beside)), *want.args)
    assert isinstance(found, Inputs)
    held = sum(one.nbytes for _, rows in found.kept for one in rows)
    assert told / 2 <= held <= told


# What each one says


@pytest.mark.parametrize(
    ("shape", "axis", "others"), [((4, 3, 5, 2), 1, (0, 2, 3)), ((4, 6, 3), -1, (0, 1)), ((7, 3), 1, 0)]
)
def test_channel_means_are_the_means_over_samples_and_positions(
    shape: tuple[int, ...], axis: int, others: tuple[int, ...]
) -> None:
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    # float64 sums of a few dozen float32 values round by less than 1e-14
    np.testing.assert_allclose(Mean.of(x, axis).values, x.mean(others, dtype=np.float64), atol=1e-14)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_tensors_of_low_rank_are_one_channel(shape: tuple[int, ...]) -> None:
    assert Mean.of(np.full(shape, 2.5, np.float32), 1).values.tolist() == [2.5]


def test_channel_ranges_are_extremes_along_the_axis() -> None:
    x = np.random.default_rng(0).standard_normal((7, 3, 5)).astype(np.float32)
    found = ChannelRange.of(x, -1)
    np.testing.assert_array_equal(found.low, x.min((0, 1)))
    np.testing.assert_array_equal(found.largest, np.abs(x).max((0, 1)))


def test_inputs_are_samples_of_what_was_seen_each_as_likely_as_another() -> None:
    x = np.arange(40, dtype=np.float32).reshape(20, 2)
    kept = Inputs.of(x, 5).samples()
    assert kept.shape == (5, 2) and {tuple(one) for one in kept} <= {tuple(one) for one in x}
    counts = np.zeros(20)
    for trial in range(400):
        rows = Inputs.of(x + np.float32(100 * trial), 5).samples()
        counts[((rows[:, 0] - 100 * trial) / 2).astype(int)] += 1
    # 2000 draws over 20 places: 100 each, with a standard deviation of 8.7; five of these are hardly ever exceeded
    assert np.abs(counts - 100).max() < 5 * 8.7


@pytest.mark.parametrize("order", [*permutations(range(3))])
def test_equal_samples_are_kept_as_often_as_they_came(order: tuple[int, ...]) -> None:
    x = np.array([[1.0], [1.0], [2.0]], np.float32)[list(order)]
    assert sorted(Inputs.of(x, 3).samples().ravel()) == [1, 1, 2]
    assert Inputs.of(x, 2) == Inputs.of(x[::-1], 2)
