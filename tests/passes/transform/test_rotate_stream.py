"""Residual streams are rotated in every spelling of a transformer, and left, with the reason, where they are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.data.dataset import random_dataset
from bevel.calib.observe.observe import model_inputs
from bevel.passes.base import PassResult, Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.load import fix_batch, load
from bevel.passes.transform import rotate_stream
from bevel.passes.transform.orthogonal import hadamard
from bevel.passes.transform.predicted import LEAST_GAIN
from bevel.passes.transform.rotate_stream import RotateStream, levelled_cost, levelling
from bevel.passes.transform.stream import NoStreamError, ResidualStream, find_streams

MODELS = Path(__file__).parents[3] / "models"
RNG = np.random.default_rng(7)
TOKENS, IMAGE = "float[1,6,8] x", "float[1,3,8,8] x"
LAYER = "n{0} = LayerNormalization ({1}, g{0}, b{0})\n"
RMS = (
    "q{0} = Mul ({1}, {1})\n m{0} = ReduceMean <keepdims = 1> (q{0}, last)\n e{0} = Add (m{0}, eps)\n"
    " d{0} = Sqrt (e{0})\n u{0} = Div ({1}, d{0})\n n{0} = Mul (u{0}, g{0})\n"
)
BLOCK = " h{0} = MatMul (n{0}, w{0})\n r{0} = Relu (h{0})\n o{0} = MatMul (r{0}, v{0})\n s{0} = Add ({1}, o{0})\n"
HEAD = "k = MatMul (n2, c)\n y = Softmax (k)"
GAINS = "float[8] g1, float[8] b1, float[8] g2, float[8] b2"
SMALL = "float[8,12] w1, float[12,8] v1, float[8,5] c"
CONSTANTS = {"last": [-1], "eps": 1e-5}
START = "a = MatMul (x, w)\n"


def blocks(norm: str, start: str = START) -> str:
    return f"{start} {norm.format(1, 'a')}{BLOCK.format(1, 'a')} {norm.format(2, 's1')} {HEAD}"


STREAMS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "layer norms": (blocks(LAYER), TOKENS, f"float[8,8] w, {GAINS}, {SMALL}", {}),
    "root mean squares, written out": (
        blocks(RMS),
        TOKENS,
        f"float[8,8] w, {GAINS}, {SMALL}, int64[1] last, float eps",
        CONSTANTS,
    ),
    "both in one stream": (
        f"{START} {LAYER.format(1, 'a')}{BLOCK.format(1, 'a')} {RMS.format(2, 's1')} {HEAD}",
        TOKENS,
        f"float[8,8] w, {GAINS}, {SMALL}, int64[1] last, float eps",
        CONSTANTS,
    ),
    "pixels, a class token and positions": (
        blocks(
            LAYER,
            "p = Conv <strides = [4,4]> (x, w)\n f = Reshape (p, flat)\n t = Transpose <perm = [0,2,1]> (f)\n"
            " l = Concat <axis = 1> (token, t)\n a = Add (l, places)\n",
        ),
        IMAGE,
        f"float[8,3,4,4] w, int64[3] flat, float[1,1,8] token, float[1,5,8] places, {GAINS}, {SMALL}",
        {"flat": [1, 8, -1]},
    ),
    "an embedding, and one number added to all channels": (
        blocks(LAYER, "f = Gather (table, x)\n a = Add (f, w)\n"),
        "int64[1,6] x",
        f"float[9,8] table, float[6,1] w, {GAINS}, {SMALL}",
        {},
    ),
    "the class token alone, behind the last norm": (
        f"{START} {LAYER.format(1, 'a')}{BLOCK.format(1, 'a')} {LAYER.format(2, 's1')}"
        " k = Gather <axis = 1> (n2, first)\n l = MatMul (k, c)\n y = Softmax (l)",
        TOKENS,
        f"float[8,8] w, {GAINS}, {SMALL}, int64 first",
        {"first": 0},
    ),
    "a mean of positions": (
        f"{START} {LAYER.format(1, 'a')}{BLOCK.format(1, 'a')} {LAYER.format(2, 's1')}"
        " k = ReduceMean <keepdims = 0> (n2, middle)\n l = MatMul (k, c)\n y = Softmax (l)",
        TOKENS,
        f"float[8,8] w, {GAINS}, {SMALL}, int64[1] middle",
        {"middle": [1]},
    ),
    "zeros beside the stream": (
        f"a0 = MatMul (x, w)\n a = Pad (a0, ends)\n {LAYER.format(1, 'a')} k = MatMul (n1, c)\n y = Softmax (k)",
        TOKENS,
        "float[8,8] w, float[8] g1, float[8] b1, float[8,5] c, int64[6] ends",
        {"ends": [0, 1, 0, 0, 0, 0]},
    ),
    "a product that reads the stream itself": (
        f"{START} {LAYER.format(1, 'a')}{BLOCK.format(1, 'a')} l = MatMul (s1, c)\n y = Softmax (l)",
        TOKENS,
        "float[8,8] w, float[8] g1, float[8] b1, float[8,12] w1, float[12,8] v1, float[8,5] c",
        {},
    ),
}

WEIGHTS = f"float[8,8] w, {GAINS}, {SMALL}"
NONE: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "a norm that adds to what it normalized": (
        f"{START} {LAYER.format(1, 'a')}{BLOCK.format(1, 'n1')} {LAYER.format(2, 's1')} {HEAD}",
        TOKENS,
        WEIGHTS,
        {},
        "besides products",
    ),
    "the stream is an input": (
        f"{LAYER.format(1, 'x')} k = MatMul (n1, c)\n y = Softmax (k)",
        TOKENS,
        "float[8] g1, float[8] b1, float[8,5] c",
        {},
        "a port of the model",
    ),
    "the stream leaves": (f"{blocks(LAYER)}\n z = Identity (s1)", TOKENS, WEIGHTS, {}, "a port of the model"),
    "a function of the stream": (
        f"{START} t = Tanh (a)\n {LAYER.format(1, 'a')} k = MatMul (n1, c)\n l = MatMul (t, c2)\n y = Add (k, l)",
        TOKENS,
        "float[8,8] w, float[8] g1, float[8] b1, float[8,5] c, float[8,5] c2",
        {},
        "a Tanh reads the residual stream",
    ),
    "its result leaves": (
        f"{START} {LAYER.format(1, 'a')} z = Identity (n1)\n k = MatMul (n1, c)\n y = Softmax (k)",
        TOKENS,
        "float[8,8] w, float[8] g1, float[8] b1, float[8,5] c",
        {},
        "leaves the model",
    ),
    "weights of two products": (
        f"{START} {LAYER.format(1, 'a')} h = MatMul (n1, w1)\n o = MatMul (h, w1)\n s = Add (a, o)\n"
        f" {LAYER.format(2, 's')} {HEAD}",
        TOKENS,
        f"float[8,8] w, {GAINS}, float[8,8] w1, float[8,5] c",
        {},
        "another node has them",
    ),
    "channels are taken apart": (
        f"{START} {LAYER.format(1, 'a')}{BLOCK.format(1, 'a')} p, q = Split <axis = -1, num_outputs = 2> (s1)\n"
        f" s2 = Concat <axis = -1> (q, p)\n {LAYER.format(2, 's2')} {HEAD}",
        TOKENS,
        WEIGHTS,
        {},
        "apart",
    ),
    "zeros beside what has a bias": (
        f"{START} {LAYER.format(1, 'a')} p = Pad (n1, ends)\n k = MatMul (p, c)\n y = Softmax (k)",
        TOKENS,
        "float[8,8] w, float[8] g1, float[8] b1, float[8,5] c, int64[6] ends",
        {"ends": [0, 1, 0, 0, 0, 0]},
        "puts zeros beside",
    ),
    "windows that end": (
        f"{START} {LAYER.format(1, 'a')} t = Transpose <perm = [0,2,1]> (n1)\n"
        " k = ConvTranspose <strides = [2]> (t, c)\n y = Softmax (k)",
        TOKENS,
        "float[8,8] w, float[8] g1, float[8] b1, float[8,5,3] c",
        {},
        "puts zeros beside",
    ),
    "along another axis": (
        "a = MatMul (x, w)\n t = Transpose <perm = [0,2,1]> (a)\n n1 = LayerNormalization (t, g1, b1)\n"
        " u = Transpose <perm = [0,2,1]> (n1)\n k = MatMul (u, c)\n y = Softmax (k)",
        "float[1,8,8] x",
        "float[8,8] w, float[8] g1, float[8] b1, float[8,5] c",
        {},
        "whole vectors",
    ),
}


def rotated(model: onnx.ModelProto, one: RotateStream) -> PassResult:
    graph, _ = canonicalize(model)
    return one(Work(graph, data=random_dataset(model_inputs(model), 4, seed=0)))


def model_of(text: Callable[..., onnx.ModelProto], case: tuple[Any, ...]) -> onnx.ModelProto:
    body, inputs, weights, values = case[:4]
    outputs = "float[] y, float[] z" if " z = " in body else "float[] y"
    return text(body, inputs, outputs, weights=weights, values=values)


@pytest.mark.parametrize("by", ["hadamard", "klt", "learned"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_rotated_and_the_function_stays(text: Any, name: str, by: Any) -> None:
    result = rotated(model_of(text, STREAMS[name]), RotateStream(by=by, gain=-99.0))
    assert result.modified
    (told,) = result.work.transforms
    assert told.sites == 1 and told.relative < 1e-5  # float32 sums of tens of terms; another function is off by 1e-2
    norms = [node for node in result.graph.nodes if node.op == "LayerNormalization"]
    assert all(not node.inputs[2].values.any() for node in norms)
    # products took up the gains; scales that came instead are positive and have a geometric mean of 1
    assert all(np.log(node.inputs[1].values).mean() == pytest.approx(0, abs=1e-5) for node in norms)


@pytest.mark.parametrize("name", NONE)
def test_no_stream_and_why(text: Any, name: str) -> None:
    result = rotated(model_of(text, NONE[name]), RotateStream(gain=-99.0))
    assert not result.modified
    assert any(NONE[name][4] in note.text for note in result.notes if note.kind == "stays"), result.notes


@pytest.mark.parametrize("gain", ["[6,8]", "[6,1]"])
def test_a_gain_for_each_position_keeps_a_normalization_out(text: Any, gain: str) -> None:
    """As many numbers as channels are no gain of channels: of eight positions, [8,1] would be taken for one."""
    body, _, weights, values = STREAMS["root mean squares, written out"]
    rows = weights.replace("float[8] g1", f"float{gain} g1")
    for positions in (6, 8):
        inputs, sized = f"float[1,{positions},8] x", rows.replace("[6,", f"[{positions},")
        assert not rotated(text(body, inputs, weights=sized, values=values), RotateStream(gain=-99.0)).modified


def test_an_outlier_of_the_stream_is_spread_over_its_channels(text: Any) -> None:
    body, inputs, weights, values = STREAMS["layer norms"]
    loud = RNG.standard_normal((8, 8)) * [1, 1, 1, 40, 1, 1, 1, 1]
    result = rotated(text(body, inputs, weights=weights, values={**values, "w": loud}), RotateStream(gain=-99.0))
    first = next(one for one in result.work.transforms[0].tensors if one.tensor == "n1")
    assert first.after.peak < 0.8 * first.before.peak


def test_the_streams_of_a_vision_transformer() -> None:
    graph, _ = canonicalize(fix_batch(load(MODELS / "vit.onnx", ()).model, 1, {}))
    (stream,) = find_streams(graph)
    assert isinstance(stream, ResidualStream) and not isinstance(stream, NoStreamError)
    assert (stream.size, len(stream.norms), len(stream.makers)) == (32, 5, 5)
    assert [len(norm.readers) for norm in stream.norms] == [1, 1, 1, 1, 1]


def test_a_stream_without_loud_channels_stays_and_says_why(text: Any) -> None:
    """All its weights are of one magnitude, which few bits hold exactly."""
    body, signs = f"{START} {LAYER.format(1, 'a')} k = MatMul (n1, c)\n y = Softmax (k)", hadamard(8)
    flat = {"w": signs, "g1": np.ones(8), "b1": np.zeros(8), "c": signs[:, :5]}
    model = text(body, TOKENS, weights="float[8,8] w, float[8] g1, float[8] b1, float[8,5] c", values=flat)
    result = rotated(model, RotateStream())
    assert not result.modified and rotated(model, RotateStream(gain=-99.0)).modified
    (note,) = (note for note in result.notes if "predicted_db" in note.numbers)
    assert note.kind == "stays" and "predicted to gain" in note.text and note.numbers["predicted_db"] < LEAST_GAIN


def test_a_loud_stream_is_predicted_to_gain(text: Any) -> None:
    body, inputs, weights, values = STREAMS["layer norms"]
    loud = RNG.standard_normal((8, 8)) * [1, 1, 1, 40, 1, 1, 1, 1]
    result = rotated(text(body, inputs, weights=weights, values={**values, "w": loud}), RotateStream())
    assert result.modified
    assert any(note.numbers.get("predicted_db", 0) > LEAST_GAIN for note in result.notes)


def test_a_matrix_that_takes_too_long_to_learn_is_hadamards(text: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(text, STREAMS["layer norms"])
    monkeypatch.setattr(rotate_stream, "LEARNING", 10)
    unlearned, plain = (rotated(model, RotateStream(by=by, gain=-99.0)) for by in ("learned", "hadamard"))
    assert any("no time to learn" in note.text for note in unlearned.notes)
    ours, theirs = (stored_constants(one) for one in (unlearned, plain))
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_scales_behind_a_rotation_are_predicted_to_cost_less() -> None:
    """Of channels that are as much louder as their weights are quieter."""
    loud = np.geomspace(0.1, 5, 8)
    rows, weights = RNG.standard_normal((64, 8)) * loud, RNG.standard_normal((5, 8, 1)) / loud[:, None]
    logs = levelling(rows, [weights], (4, 4))
    costs = [levelled_cost(rows, [weights], one, (4, 4)) for one in (np.zeros(8), logs)]
    assert costs[1] < 0.8 * costs[0]


def stored_constants(result: PassResult) -> dict[str, Any]:
    return {
        f"{node.name} {place}": one.values
        for node in result.graph.nodes
        for place, one in enumerate(node.inputs)
        if isinstance(one, gs.Constant)
    }
