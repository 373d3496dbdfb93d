"""Channels of outlying weights are read twice, and both halves together round as the whole did."""

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
from bevel.passes.transform.split_channels import SplitChannels, splitting

RNG = np.random.default_rng(3)
MATRIX = RNG.standard_normal((20, 6)) * np.where(np.arange(20) == 7, 9, 1)[:, None]
IMAGE = RNG.standard_normal((6, 20, 3, 3)) * np.where(np.arange(20) == 4, 9, 1)[:, None, None]
SPLIT: dict[str, tuple[str, str, str, Any, int]] = {
    "a product": ("y = MatMul (x, w)", "float[5,20] x", "float[20,6] w", MATRIX, 7),
    "of tokens": ("a = MatMul (x, w)\n y = Relu (a)", "float[1,5,20] x", "float[20,6] w", MATRIX, 7),
    "turned around": ("y = Gemm <transB = 1> (x, w)", "float[5,20] x", "float[6,20] w", MATRIX.T, 7),
    "a convolution": ("y = Conv <pads = [1,1,1,1]> (x, w)", "float[1,20,4,4] x", "float[6,20,3,3] w", IMAGE, 4),
    "of one group, by default": ("y = Conv (x, w)", "float[1,20,5] x", "float[6,20,3] w", IMAGE[..., 0], 4),
}
LEFT: dict[str, tuple[str, str, str]] = {
    "a depthwise convolution": ("y = Conv <group = 20> (x, w)", "float[1,20,4,4] x", "float[20,1,3,3] w"),
    "a transposed convolution": ("y = ConvTranspose (x, w)", "float[1,20,4,4] x", "float[20,6,3,3] w"),
    "two activations": ("a = Transpose (x)\n y = MatMul (x, a)", "float[5,20] x", ""),
    "functions": ("y = Sigmoid (x)", "float[5,20] x", ""),
}


def run(model: onnx.ModelProto, one: SplitChannels) -> PassResult:
    graph, _ = canonicalize(model)
    return one(Work(graph, data=random_dataset(model_inputs(model), 8, seed=0)))


@pytest.mark.parametrize("case", SPLIT)
def test_the_channel_that_reaches_furthest_is_read_twice(text: Callable[..., onnx.ModelProto], case: str) -> None:
    body, inputs, weights, values, place = SPLIT[case]
    result = run(text(body, inputs, weights=weights, values={"w": values}), SplitChannels("int4"))
    assert result.modified and result.work.transforms[0].relative < 1e-6
    (gather,) = [node for node in result.graph.nodes if node.op == "Gather"]
    assert gather.inputs[1].values.tolist() == [*range(20), place]
    assert any(note.numbers.get("channels") == 1 for note in result.notes)


def test_both_halves_together_round_as_the_whole() -> None:
    weights = MATRIX.T[:, :, None]
    limit = 7
    order, split = splitting(weights, 1, 4)
    place = int(order[-1])
    step = np.abs(weights).max((1, 2)) / limit
    halves = (np.rint(split[:, one, 0] / step + 1e-9) for one in (place, len(order) - 1))
    np.testing.assert_array_equal(sum(halves), np.rint(weights[:, place, 0] / step))
    np.testing.assert_allclose(split[:, place] + split[:, -1], weights[:, place])
    assert (np.abs(split).max((1, 2)) <= np.abs(weights).max((1, 2))).all()


@pytest.mark.parametrize("case", LEFT)
def test_what_does_not_read_all_channels_by_constants_stays(text: Callable[..., onnx.ModelProto], case: str) -> None:
    body, inputs, weights = LEFT[case]
    assert not run(text(body, inputs, weights=weights), SplitChannels("int4")).modified


def test_even_weights_are_not_split(text: Callable[..., onnx.ModelProto]) -> None:
    even = RNG.choice([-1.0, 1.0], (20, 6))
    model = text("y = MatMul (x, w)", "float[5,20] x", weights="float[20,6] w", values={"w": even})
    assert not run(model, SplitChannels("int4")).modified
