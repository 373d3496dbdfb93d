"""Channels that lie around different values are centred where a bias can take it, through moves and shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform.shift_bias import ShiftBias

FAR = np.array([-9.0, 9, 0, 0, -9, 9, 0, 0])
TOKENS = "float[1,6,8] x"
NORM = "n = LayerNormalization (x, g, b)\n "
NORM_WEIGHTS = "float[8] g, float[8] b"
HEADS = {"h": [1, 6, 2, 4], "j": [1, 6, 8]}
ATTENTION = (
    "m = MatMul (x, wv)\n v = Add (m, b)\n v4 = Reshape (v, h)\n vt = Transpose <perm = [0,2,1,3]> (v4)\n"
    " p = Softmax <axis = {axis}> (s)\n a = MatMul (p, vt)\n t = Transpose <perm = [0,2,1,3]> (a)\n"
    " r = Reshape (t, j)\n y = MatMul (r, wo)"
)
ATTENTION_WEIGHTS = "float[8,8] wv, float[8] b, float[8,5] wo, int64[4] h, int64[3] j"
SCORES = f"{TOKENS}, float[1,2,6,6] s"

CENTRED: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "a normalization before two products": (
        f"{NORM}a = MatMul (n, w)\n c = MatMul (n, v)\n t = Tanh (a)\n y = Mul (t, c)",
        TOKENS,
        f"{NORM_WEIGHTS}, float[8,5] w, float[8,5] v",
        {},
    ),
    "the first position alone": (
        f"{NORM}k = Gather <axis = 1> (n, i)\n y = MatMul (k, w)",
        TOKENS,
        f"{NORM_WEIGHTS}, float[8,5] w, int64 i",
        {"i": 0},
    ),
    "two products": (
        "a = Gemm (x, w, b)\n y = Gemm (a, v)",
        "float[5,8] x",
        "float[8,8] w, float[8] b, float[8,4] v",
        {},
    ),
    "convolutions without padding": (
        "a = Conv (x, w, b)\n y = Conv (a, v)",
        "float[1,3,8,8] x",
        "float[8,3,3,3] w, float[8] b, float[4,8,3,3] v",
        {},
    ),
    "values of attention": (ATTENTION.format(axis=-1), SCORES, ATTENTION_WEIGHTS, HEADS),
    "weights of two products, whose biases are their own": (
        f"{NORM}a = MatMul (n, w)\n c = Add (a, d)\n t = Tanh (c)\n e = MatMul (t, w)\n y = Add (e, n)".replace(
            "y = Add (e, n)", "y = Softmax (e)"
        ),
        TOKENS,
        f"{NORM_WEIGHTS}, float[8,8] w, float[8] d",
        {},
    ),
}

LEFT: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "padded": (
        "a = Conv (x, w, b)\n y = Conv <pads = [1,1,1,1]> (a, v)",
        "float[1,3,8,8] x",
        "float[8,3,3,3] w, float[8] b, float[4,8,3,3] v",
        {},
    ),
    "a Relu between": (
        "a = Gemm (x, w, b)\n r = Relu (a)\n y = Gemm (r, v)",
        "float[5,8] x",
        "float[8,8] w, float[8] b, float[8,4] v",
        {},
    ),
    "it leaves, too": (
        "z = Gemm (x, w, b)\n y = Gemm (z, v)",
        "float[5,8] x",
        "float[8,8] w, float[8] b, float[8,4] v",
        {},
    ),
    "something adds to it": (f"{NORM}a = MatMul (n, w)\n y = Add (a, n)", TOKENS, f"{NORM_WEIGHTS}, float[8,8] w", {}),
    "shares that sum to 1 along the other axis": (ATTENTION.format(axis=-2), SCORES, ATTENTION_WEIGHTS, HEADS),
    "no bias to take it": ("n = LayerNormalization (x, g)\n y = MatMul (n, w)", TOKENS, "float[8] g, float[8,5] w", {}),
}


def shifted(text: Any, case: tuple[Any, ...]) -> PassResult:
    body, inputs, weights, values = case
    outputs = "float[] y, float[] z" if body.startswith("z = ") else "float[] y"
    model: onnx.ModelProto = text(body, inputs, outputs, weights=weights, values={"b": FAR, **values})
    graph, _ = canonicalize(model)
    return ShiftBias()(Work(graph, data=random_dataset(model_inputs(model), 6, seed=0)))


@pytest.mark.parametrize("name", CENTRED)
def test_channels_are_centred_and_the_function_stays(text: Any, name: str) -> None:
    result = shifted(text, CENTRED[name])
    assert result.modified
    (told,) = result.work.transforms
    assert told.relative < 1e-5  # float32 sums of tens of terms; another function is off by 1e-2
    assert all(note.numbers["predicted_db"] > 1 for note in result.notes if "centred" in note.text)


@pytest.mark.parametrize("name", LEFT)
def test_channels_are_left(text: Any, name: str) -> None:
    assert not shifted(text, LEFT[name]).modified


def test_channels_that_lie_around_zero_are_left(text: Any) -> None:
    body, _, weights, _ = CENTRED["two products"]
    assert not shifted(text, (body, "float[400,8] x", weights, {"b": np.zeros(8)})).modified
