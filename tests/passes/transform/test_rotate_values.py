"""Values are rotated head by head in every spelling of attention, and left where something else reads them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.transform.predicted import LEAST_GAIN
from bevel.passes.transform.rotate_values import RotateValues

RNG = np.random.default_rng(9)
TOKENS = "float[1,6,8] x, float[1,2,6,6] s"
SHAPES = {"h": [1, 6, 2, 4], "j": [1, 6, 8]}
MADE = "v = MatMul (x, wv)\n v4 = Reshape (v, h)\n vt = Transpose <perm = [0,2,1,3]> (v4)\n p = Softmax (s)\n"
CUT = MADE.split("\n", 1)[1]
BIASED = MADE.replace("Reshape (v,", "Reshape (vb,").replace("v4 =", "vb = Add (v, b)\n v4 =", 1)
READ = "t = Transpose <perm = [0,2,1,3]> (a)\n r = Reshape (t, j)\n y = MatMul (r, wo)"
WEIGHTS = "float[8,8] wv, float[8,5] wo, int64[4] h, int64[3] j"

# A body, its inputs, weights and values, and how many heads of how many channels.
TURNED: dict[str, tuple[str, str, str, dict[str, Any], tuple[int, int]]] = {
    "heads": (f"{MADE} a = MatMul (p, vt)\n {READ}", TOKENS, WEIGHTS, SHAPES, (2, 4)),
    "with a bias": (
        f"{BIASED} a = MatMul (p, vt)\n {READ}",
        TOKENS,
        f"{WEIGHTS}, float[8] b",
        SHAPES,
        (2, 4),
    ),
    "one head of values for two of queries": (
        "v = MatMul (x, wv)\n v4 = Reshape (v, h)\n vn = Tile (v4, n)\n vt = Transpose <perm = [0,2,1,3]> (vn)\n"
        f"p = Softmax (s)\n a = MatMul (p, vt)\n {READ}",
        TOKENS,
        "float[8,4] wv, float[8,5] wo, int64[4] h, int64[3] j, int64[4] n",
        {"h": [1, 6, 1, 4], "j": [1, 6, 8], "n": [1, 1, 2, 1]},
        (1, 4),
    ),
    "values on the left": (
        "v = MatMul (x, wv)\n v4 = Reshape (v, h)\n vt = Transpose <perm = [0,2,3,1]> (v4)\n p = Softmax (s)\n"
        "a = MatMul (vt, p)\n t = Transpose <perm = [0,3,1,2]> (a)\n r = Reshape (t, j)\n y = MatMul (r, wo)",
        TOKENS,
        WEIGHTS,
        SHAPES,
        (2, 4),
    ),
    "cut from one product": (
        "m = MatMul (x, w)\n q, v = Split <axis = -1, num_outputs = 2> (m)\n z4 = Tanh (q)\n z = Softmax (z4)\n"
        f" {CUT} a = MatMul (p, vt)\n {READ}",
        TOKENS,
        f"float[8,16] w, {WEIGHTS}",
        SHAPES,
        (2, 4),
    ),
}

LEFT: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "a Relu on the values": (
        f"{MADE} q = Relu (vt)\n a = MatMul (p, q)\n {READ}",
        TOKENS,
        WEIGHTS,
        SHAPES,
    ),
    "the values leave, too": (f"{MADE} z = Identity (v)\n a = MatMul (p, vt)\n {READ}", TOKENS, WEIGHTS, SHAPES),
    "something adds to what is read": (
        f"{MADE} a0 = MatMul (p, vt)\n a = Add (a0, vt)\n {READ}",
        TOKENS,
        WEIGHTS,
        SHAPES,
    ),
    "keys are values, too": (
        f"{MADE} k = Transpose <perm = [0,1,3,2]> (vt)\n z = MatMul (s, vt)\n z1 = MatMul (z, k)\n"
        f" a = MatMul (p, vt)\n {READ}",
        TOKENS,
        WEIGHTS,
        SHAPES,
    ),
    "heads of two channels": (
        f"{MADE} a = MatMul (p, vt)\n {READ}",
        "float[1,6,8] x, float[1,4,6,6] s",
        WEIGHTS,
        {"h": [1, 6, 4, 2], "j": [1, 6, 8]},
    ),
}


def turned(text: Any, case: tuple[Any, ...], by: Literal["hadamard", "affine"] = "hadamard") -> PassResult:
    body, inputs, weights, values = case[:4]
    names = [name for name in ("z", "z1") if f" {name} = " in body and "Softmax (z" not in body]
    outputs = ", ".join(f"float[] {name}" for name in ["y", *names[-1:]])
    model: onnx.ModelProto = text(body, inputs, outputs, weights=weights, values=values)
    graph, _ = canonicalize(model)
    return RotateValues(by=by, gain=-99.0)(Work(graph, data=random_dataset(model_inputs(model), 4, seed=0)))


@pytest.mark.parametrize("by", ["hadamard", "affine"])
@pytest.mark.parametrize("name", TURNED)
def test_values_are_rotated_and_the_function_stays(text: Any, name: str, by: Literal["hadamard", "affine"]) -> None:
    result = turned(text, TURNED[name], by)
    assert result.modified
    (told,) = result.work.transforms
    assert told.relative < 1e-5  # float32 sums of tens of terms; another function is off by 1e-2
    note = next(note for note in result.notes if "heads" in note.numbers)
    assert (note.numbers["heads"], note.numbers["channels"]) == TURNED[name][4]


@pytest.mark.parametrize("name", LEFT)
def test_values_are_left(text: Any, name: str) -> None:
    assert not turned(text, LEFT[name]).modified


def test_a_loud_channel_is_spread_over_its_head(text: Any) -> None:
    body, inputs, weights, values, _ = TURNED["heads"]
    loud = RNG.standard_normal((8, 8)) * [1, 1, 1, 40, 1, 1, 1, 1]
    (told,) = turned(text, (body, inputs, weights, {**values, "wv": loud})).work.transforms
    (tensor,) = told.tensors
    assert tensor.after.peak < 0.7 * tensor.before.peak


def test_a_learned_matrix_is_predicted_to_gain_more_than_a_rotation(text: Any) -> None:
    body, inputs, weights, values, _ = TURNED["heads"]
    case = (body, inputs, weights, {**values, "wv": RNG.standard_normal((8, 8)) * [1, 1, 1, 9, 1, 1, 1, 1]})
    notes = [note for by in ("hadamard", "affine") for note in turned(text, case, by).notes]  # type: ignore[arg-type]
    rotated, learned = (note.numbers["predicted_db"] for note in notes if "predicted_db" in note.numbers)
    assert learned > rotated + 0.5


def test_loud_channels_decide_whether_heads_are_turned(text: Any) -> None:
    body, inputs, weights, values, _ = TURNED["heads"]
    loud = RNG.standard_normal((8, 8)) * [1, 1, 1, 40, 1, 1, 1, 1]
    even = {"wv": np.linalg.qr(RNG.standard_normal((8, 8)))[0], "wo": RNG.choice([-1.0, 1.0], (8, 5))}
    for given, turns in (({"wv": loud}, True), (even, False)):
        model = text(body, inputs, weights=weights, values={**values, **given})
        graph, _ = canonicalize(model)
        result = RotateValues()(Work(graph, data=random_dataset(model_inputs(model), 16, seed=0)))
        (note,) = (note for note in result.notes if "predicted_db" in note.numbers)
        assert result.modified == turns == (note.numbers["predicted_db"] >= LEAST_GAIN)
        assert note.text.startswith("values are rotated in" if turns else "values are not rotated in")
