"""Scales in closed form are those of least predicted cost for steps that stay, and taken where they lower it."""

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
from bevel.passes.transform.flow import find_flow
from bevel.passes.transform.noise import halves, listen, mean_squares, rounded_rows
from bevel.passes.transform.project_gain import ProjectGain, projected
from bevel.passes.transform.sites import find_sites

X = "float[1,12,8] x"
NORM = "n = LayerNormalization (x, g, b)\n m = MatMul (n, w)\n y = Sigmoid (m)"
WEIGHTS = "float[8] g, float[8] b, float[8,5] w"
LOUD = {"g": np.array([1, 1, 40, 1, 1, 1, 1, 1.0])}


def run(model: onnx.ModelProto) -> PassResult:
    graph, _ = canonicalize(model)
    return ProjectGain()(Work(graph, data=random_dataset(model_inputs(model), 8, seed=0)))


def test_an_outlier_is_taken_out_and_the_function_stays(text: Callable[..., onnx.ModelProto]) -> None:
    result = run(text(NORM, X, weights=WEIGHTS, values=LOUD))
    assert result.modified and result.work.transforms[0].relative < 1e-5
    (tensor,) = result.work.transforms[0].tensors
    assert tensor.after.peak < tensor.before.peak
    assert any(note.numbers.get("predicted_db", 0) >= 1 for note in result.notes)


def test_the_closed_form_is_the_minimum_of_its_cost(text: Callable[..., onnx.ModelProto]) -> None:
    model = text(NORM, X, weights=WEIGHTS, values={"g": np.geomspace(0.5, 3, 8)})
    graph, _ = canonicalize(model)
    flow = find_flow(graph)
    (site,) = find_sites(flow)
    (noise,) = listen(flow, [site], random_dataset(model_inputs(model), 8, seed=0))
    (product,), (carrier,) = noise.products, noise.carriers
    wide = np.square(product.weights).sum((1, 3)).ravel()[np.argsort(product.places)]
    lost = np.square(rounded_rows(product.weights, 8) - product.weights).sum((1, 3)).ravel()[np.argsort(product.places)]
    power, error = halves(mean_squares(carrier.values))[0], carrier.errors(np.zeros(8), 8)[0]

    def cost(logs: Any) -> float:
        return float((error * np.exp(-2 * logs) * wide + power * np.exp(2 * logs) * lost).sum())

    logs = projected(noise, 8, 8)
    free = min(np.linspace(-3, 3, 601), key=lambda shift: cost(logs + shift))  # the tensor's own scale
    least = cost(logs + free)
    for channel in range(8):
        for step in (-0.2, 0.2):
            assert cost(logs + free + step * (np.arange(8) == channel)) > least


def test_dead_channels_keep_their_scale_without_a_word(text: Callable[..., onnx.ModelProto]) -> None:
    gains = np.where(np.arange(8) == 3, 0.0, np.geomspace(0.5, 3, 8))
    model = text(NORM, X, weights=WEIGHTS, values={"g": gains, "b": np.zeros(8)})
    graph, _ = canonicalize(model)
    flow = find_flow(graph)
    (site,) = find_sites(flow)
    (noise,) = listen(flow, [site], random_dataset(model_inputs(model), 8, seed=0))
    with np.errstate(all="raise"):
        logs = projected(noise, 8, 8)
    assert logs[3] == 0 and np.count_nonzero(logs) == 7


@pytest.mark.parametrize(
    ("body", "weights", "values"),
    [
        ("a = Sigmoid (x)\n y = Softmax (a)", "", {}),
        ("a = Sigmoid (x)\n y = MatMul (a, w)", "float[8,5] w", {}),
        (NORM, WEIGHTS, {"g": np.ones(8), "b": np.zeros(8), "w": np.sign(np.linspace(-1, 1.1, 40)).reshape(8, 5)}),
    ],
    ids=["no product", "a function that lets no scale through", "even channels"],
)
def test_without_a_place_or_a_gain_it_stays(
    text: Callable[..., onnx.ModelProto], body: str, weights: str, values: dict[str, Any]
) -> None:
    assert not run(text(body, X, weights=weights, values=values)).modified
