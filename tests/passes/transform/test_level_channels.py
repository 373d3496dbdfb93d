"""Channels get ranges of one width where each is read alone, nearer ones where they are summed; the function stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import Runs, open_dataset, spread_samples
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform import seen
from bevel.passes.transform.level_channels import (
    CLIPPED,
    LEAST,
    LOOKED,
    LevelChannels,
    channel_reaches,
    least_ends,
    levelled,
)
from bevel.passes.transform.proof import prove
from bevel.passes.transform.seen import see

BITS = 8
RNG = np.random.default_rng(1)
X = "float[1,3,8,8] x"
UNLIKE = RNG.standard_normal((6, 3, 1, 1)) * np.geomspace(0.2, 5, 6).reshape(-1, 1, 1, 1)
DEPTHWISE = "c = Conv (x, w)\n r = Relu (c)\n y = Conv <group = 6> (r, v)"
DENSE = "c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, v)"


def samples_of(model: onnx.ModelProto) -> Runs:
    return open_dataset(
        {"x": np.random.default_rng(2).standard_normal((32, 1, 3, 8, 8)).astype(np.float32)}, model_inputs(model)
    )


def run(
    model: onnx.ModelProto, one: LevelChannels | None = None, samples: Runs | None = None
) -> tuple[PassResult, np.ndarray]:
    """What the pass makes of it, and how far each channel of `r` reaches then."""
    graph, _ = canonicalize(model)
    samples = samples_of(model) if samples is None else samples
    result = (one or LevelChannels())(Work(graph, data=samples))
    return result, channel_reaches(see(result.graph, ["r"], samples)["r"], 1, BITS)


def spread(reach: np.ndarray) -> float:
    return float(reach.max() / reach.min())


def test_channels_that_are_read_alone_reach_equally_far(text: Callable[..., onnx.ModelProto]) -> None:
    model = text(DEPTHWISE, X, weights="float[6,3,1,1] w, float[6,1,3,3] v", values={"w": UNLIKE})
    result, reach = run(model)
    assert result.modified and result.work.transforms[0].relative < 1e-5
    assert spread(reach) == pytest.approx(1.0, abs=1e-3)


def test_channels_that_are_summed_keep_a_part_of_what_sets_them_apart(text: Callable[..., onnx.ModelProto]) -> None:
    model = text(DENSE, X, weights="float[6,3,1,1] w, float[4,6,1,1] v", values={"w": UNLIKE})
    _, before = run(model, LevelChannels(alpha=0.0))
    result, after = run(model)
    assert result.modified and spread(before) > 8
    assert spread(after) == pytest.approx(spread(before) ** (1 - LevelChannels().alpha), rel=0.15)


CLIPPED_BODY = "c = Conv (x, w)\n r = Clip (c, low, high)\n y = Conv <group = 6> (r, v)"
CLIPPED_WEIGHTS = "float[6,3,1,1] w, float[6,1,3,3] v, float low, float high"


def clipped(text: Callable[..., onnx.ModelProto], low: float, high: float) -> onnx.ModelProto:
    values = {"w": UNLIKE, "low": np.array(low), "high": np.array(high)}
    return text(CLIPPED_BODY, X, weights=CLIPPED_WEIGHTS, values=values)


def test_a_clip_lets_scales_through_that_keep_what_was_seen_below_its_bound(
    text: Callable[..., onnx.ModelProto],
) -> None:
    model = clipped(text, 0.0, 6.0)
    samples = samples_of(model)
    before = channel_reaches(see(canonicalize(model)[0], ["r"], samples)["r"], 1, BITS)
    result, after = run(model, samples=samples)
    assert result.modified and result.work.transforms[0].relative < 1e-5
    full = before >= 6
    assert 0 < full.sum() < 6
    np.testing.assert_allclose(after[full], 6.0)
    assert spread(after) < 0.6 * spread(before) and (after <= 6).all()


def test_what_one_sample_of_many_shows_below_a_bound_stays_there(
    text: Callable[..., onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though reaches are of some samples, and of fewer still where memory is scarce."""
    model = clipped(text, 0.0, 30.0)
    x = np.random.default_rng(4).standard_normal((200, 1, 3, 8, 8)).astype(np.float32)
    x[1] *= 8
    samples, before = open_dataset({"x": x}, model_inputs(model)), canonicalize(model)[0]
    assert 1 not in spread_samples(samples, LOOKED).places
    for memory in (seen.MEMORY, 1):
        monkeypatch.setattr(seen, "MEMORY", memory)
        result, _ = run(model, samples=samples)
        assert result.modified
        assert prove(before, result.graph, samples).relative < 1e-5


def test_nothing_is_levelled_behind_a_clip_that_every_channel_gets_to_or_that_cuts_below(
    text: Callable[..., onnx.ModelProto],
) -> None:
    assert not run(clipped(text, 0.0, 0.1))[0].modified
    assert not run(clipped(text, -1.0, 6.0))[0].modified


def test_what_stays_float_is_left(text: Callable[..., onnx.ModelProto]) -> None:
    """Three spatial axes: no operator of integers."""
    body = "a = Conv (x, w)\n y = Conv (a, v)"
    model = text(body, "float[1,2,5,6,7] x", weights="float[4,2,2,2,2] w, float[3,4,2,2,2] v")
    graph, _ = canonicalize(model)
    samples = open_dataset({"x": RNG.standard_normal((8, 1, 2, 5, 6, 7)).astype(np.float32)}, model_inputs(model))
    assert not LevelChannels()(Work(graph, data=samples)).modified


def test_dead_channels_keep_their_scale_and_quiet_ones_are_not_blown_up() -> None:
    reach = np.array([0.0, 3.9 * LEAST, 4.1 * LEAST, 1.0, 4.0])
    for wakes, quiet in ((True, -np.log(LEAST)), (False, 0.0)):
        logs = levelled(reach, 1.0, wakes)
        assert logs[0] == 0 and np.isclose(logs.sum(), 0)
        assert np.allclose(logs[1:4] - logs[4], [quiet, *np.log(4 / reach[2:4])])


def test_a_single_outlier_moves_the_reach_by_one_value_at_most() -> None:
    one = np.abs(np.random.default_rng(3).standard_normal((1, 2, 4000))).astype(np.float32)
    loud = one.copy()
    loud[0, 1, 17] = 1e3
    before, after = (channel_reaches([each], 1, BITS) for each in (one, loud))
    third = np.sort(one[0, 1])[-3]  # a thousandth of 4000 values lies beyond the fifth, which the fourth becomes
    assert CLIPPED * 4000 == 4 and before[0] == after[0] and before[1] <= after[1] <= third


def test_below_eight_bits_a_channel_ends_where_clipping_costs_what_finer_steps_bring() -> None:
    """One side of 0 has all codes."""
    normal = np.random.default_rng(5).standard_normal((1, 20000))
    one_sided, tail = np.abs(normal), np.quantile(np.abs(normal), 1 - CLIPPED)
    four, six = least_ends(one_sided, 4), least_ends(one_sided, 6)
    assert four < 0.95 * tail < tail < six
    np.testing.assert_allclose(channel_reaches([normal], 0, 4), least_ends(normal[:, ::2], 4))
    assert least_ends(normal, 4) < four
    np.testing.assert_allclose(least_ends(3 * normal, 4), 3 * least_ends(normal, 4))

    def left(end: float) -> float:
        step = end / 15
        return float(np.square(one_sided - np.clip(np.rint(one_sided / step), 0, 15) * step).sum())

    assert left(float(four[0])) <= 1.01 * min(left(end) for end in np.linspace(0.3 * tail, tail, 60))
