"""Loud channels of a product's input get a product of 8 bits of their own, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import open_dataset
from bevel.calib.formats.format import INT8
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform.keep_outliers import KeepOutliers, loudest

RNG = np.random.default_rng(6)
LOUD = np.where(np.isin(np.arange(24), (5, 17)), 25.0, 1.0)
KEPT: dict[str, tuple[str, str]] = {
    "a product": ("y = MatMul (x, w)", "float[24,9] w"),
    "with a bias": ("a = MatMul (x, w)\n m = Add (a, b)\n y = Relu (m)", "float[24,9] w, float[9] b"),
    "turned around": ("y = Gemm <transB = 1> (x, w)", "float[9,24] w"),
}
BOUND = "int64[1] zero, int64[1] eight, int64[1] axis"
LEFT: dict[str, tuple[str, str]] = {
    "two activations": ("a = Transpose (x)\n y = MatMul (x, a)", ""),
    "few channels": (
        "a = Slice (x, zero, eight, axis)\n y = MatMul (a, w)",
        "float[8,9] w, int64[1] zero, int64[1] eight, int64[1] axis",
    ),
    "functions": ("y = Sigmoid (x)", ""),
}
BOUNDS = {"zero": [0], "eight": [8], "axis": [1]}


def run(model: onnx.ModelProto, one: KeepOutliers, channels: Any = LOUD) -> PassResult:
    samples = (RNG.standard_normal((12, 10, 24)) * channels).astype(np.float32)
    graph, _ = canonicalize(model)
    return one(Work(graph, data=open_dataset({"x": samples}, model_inputs(model))))


@pytest.mark.parametrize("case", KEPT)
def test_loud_channels_are_multiplied_apart_at_eight_bits(text: Callable[..., onnx.ModelProto], case: str) -> None:
    body, weights = KEPT[case]
    result = run(text(body, "float[10,24] x", weights=weights), KeepOutliers(activations="int4", ratio=0.08))
    assert result.modified and result.work.transforms[0].relative < 1e-6
    (gather,) = [node for node in result.graph.nodes if node.op == "Gather"]
    assert gather.inputs[1].values.tolist() == [5, 17]
    assert result.work.schemes.nodes[gather.name].activations == INT8
    assert result.work.transforms[0].operations == 10 * (2 * 9 + 24 + 9)
    main = next(node for node in result.graph.nodes if node.op == "Gemm" and not node.name.endswith("/kept"))
    assert not main.inputs[1].values[[5, 17]].any()


@pytest.mark.parametrize("case", LEFT)
def test_what_is_no_product_of_many_channels_stays(text: Callable[..., onnx.ModelProto], case: str) -> None:
    body, weights = LEFT[case]
    values = {name: np.array(one) for name, one in BOUNDS.items() if name in weights}
    model = text(body, "float[10,24] x", weights=weights, values=values)
    assert not run(model, KeepOutliers(activations="int4")).modified


def test_inputs_of_eight_bits_and_even_ones_stay(text: Callable[..., onnx.ModelProto]) -> None:
    model = text("y = MatMul (x, w)", "float[10,24] x", weights="float[24,9] w")
    assert not run(model, KeepOutliers(activations="int8")).modified
    assert not run(model, KeepOutliers(activations="int4"), np.ones(24)).modified


def test_the_gain_is_what_rounding_the_rest_costs_less() -> None:
    values = RNG.uniform(-1, 1, (24, 400)).astype(np.float32) * LOUD[:, None].astype(np.float32)
    kept, gain = loudest(values, np.ones(24), 2, 4)
    assert kept.tolist() == [5, 17] and gain > 10
