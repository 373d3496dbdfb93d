"""Outputs of normalizations get channels of one width and one middle; what products make, and flat ones, stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform.reparameterize import Reparameterize, evening, widths
from bevel.passes.transform.seen import channel_values, see

RNG = np.random.default_rng(2)
X = "float[1,12,8] x"
NORM = "n = LayerNormalization (x, g, b)\n m = MatMul (n, w)\n y = Sigmoid (m)"
WEIGHTS = "float[8] g, float[8] b, float[8,5] w"
UNLIKE = {"g": np.geomspace(0.05, 20, 8), "b": np.linspace(-30, 30, 8)}


def run(model: onnx.ModelProto, one: Reparameterize = Reparameterize()) -> tuple[PassResult, Any]:  # noqa: B008
    graph, _ = canonicalize(model)
    data = random_dataset(model_inputs(model), 16, seed=0)
    return one(Work(graph, data=data)), data


def test_channels_get_one_width_and_one_middle(text: Callable[..., onnx.ModelProto]) -> None:
    result, data = run(text(NORM, X, weights=WEIGHTS, values=UNLIKE), Reparameterize(least=-100.0))
    assert result.modified and result.work.transforms[0].relative < 1e-5
    reader = next(node for node in result.graph.nodes if node.name == "m")
    values = channel_values(see(result.graph, [reader.inputs[0].name], data)[reader.inputs[0].name], -1)
    reach, middle = widths(values, 8), (np.nanmax(values, 1) + np.nanmin(values, 1)) / 2
    # 600 times apart before; ranges are those of least error, which need not be the extremes
    assert reach.max() / reach.min() < 1.5
    assert np.ptp(middle) < 0.2 * reach.mean()
    assert any("width of their mean" in note.text for note in result.notes)


def test_mean_and_median_of_the_scales_are_one_factor_that_a_tensor_s_scale_takes_up() -> None:
    width = np.array([1.0, 2.0, 8.0, 100.0])
    for target in (width.mean(), np.median(width)):
        apart = np.log(target / width) - evening(width)
        np.testing.assert_allclose(apart, apart[0])


def test_a_constant_channel_keeps_its_scale() -> None:
    assert evening(np.array([0.0, 2.0, 2.0]))[0] == 0


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("a = MatMul (x, w)\n r = Relu (a)\n y = MatMul (r, v)", "float[8,6] w, float[6,5] v"),
        ("n = LayerNormalization (x, g, b)\n y = Sigmoid (n)", "float[8] g, float[8] b"),
        (
            "n = LayerNormalization (x, g, b)\n m = MatMul (n, w)\n y = Add (m, n)",
            "float[8] g, float[8] b, float[8,8] w",
        ),
    ],
    ids=["products alone", "no product", "what else reads it"],
)
def test_what_is_no_normalization_before_products_alone_stays(
    text: Callable[..., onnx.ModelProto], body: str, weights: str
) -> None:
    assert not run(text(body, X, weights=weights))[0].modified


def test_a_normalization_that_is_even_already_stays(text: Callable[..., onnx.ModelProto]) -> None:
    even = {"g": np.ones(8), "b": np.zeros(8), "w": RNG.choice([-1.0, 1.0], (8, 5))}
    assert not run(text(NORM, X, weights=WEIGHTS, values=even))[0].modified
