"""A normalization spelled in means, squares and roots is one operator, whoever spelled it, and the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

ROWS = "float[1,5,16] x"
IMAGES = "float[2,3,4,5] x"
CENTRED = "m = ReduceMean (x, a)\n d = Sub (x, m)\n"
DEVIATION = "v = ReduceMean (q, a)\n e = Add (v, eps)\n r = Sqrt (e)\n"
SQUARES = "q = Mul (x, x)\n s = ReduceMean (q, a)\n e = Add (s, eps)\n r = Sqrt (e)\n"
AFFINE = "g = Mul (n, w)\n y = Add (g, b)"
# Bodies, inputs, the axes, and whether there are gain and bias.
NORMS: dict[str, tuple[str, str, Any]] = {
    "layer": (f"{CENTRED} q = Pow (d, two)\n {DEVIATION} n = Div (d, r)\n {AFFINE}", ROWS, -1),
    "layer by products": (
        f"{CENTRED} q = Mul (d, d)\n {DEVIATION} i = Reciprocal (r)\n n = Mul (i, d)\n {AFFINE}",
        ROWS,
        -1,
    ),
    "layer without gain": (f"{CENTRED} q = Mul (d, d)\n {DEVIATION} y = Div (d, r)", ROWS, -1),
    "layer by powers": (
        f"{CENTRED} q = Pow (d, two)\n v = ReduceMean (q, a)\n e = Add (v, eps)\n r = Pow (e, half)\n n = Div (d, r)\n"
        f"{AFFINE}",
        ROWS,
        -1,
    ),
    "difference of means": (
        "m = ReduceMean (x, a)\n q = Mul (x, x)\n s = ReduceMean (q, a)\n p = Mul (m, m)\n v = Sub (s, p)\n"
        f"e = Add (v, eps)\n r = Sqrt (e)\n d = Sub (x, m)\n n = Div (d, r)\n {AFFINE}",
        ROWS,
        -1,
    ),
    "fast variance": (
        "m = ReduceMean (x, a)\n q = Mul (x, x)\n s = ReduceMean (q, a)\n p = Mul (m, m)\n u = Sub (s, p)\n"
        "v = Max (u, zero)\n e = Add (v, eps)\n r = Sqrt (e)\n i = Reciprocal (r)\n d = Sub (x, m)\n f = Mul (i, w)\n"
        "n = Mul (d, f)\n y = Add (n, b)",
        ROWS,
        -1,
    ),
    "multiplied out": (
        f"{CENTRED} q = Mul (d, d)\n {DEVIATION} i = Reciprocal (r)\n f = Mul (i, w)\n n = Mul (x, f)\n"
        "k = Mul (m, f)\n o = Sub (b, k)\n y = Add (n, o)",
        ROWS,
        -1,
    ),
    "multiplied out, difference of means": (
        "m = ReduceMean (x, a)\n q = Mul (x, x)\n s = ReduceMean (q, a)\n p = Mul (m, m)\n v = Sub (s, p)\n"
        "e = Add (v, eps)\n r = Sqrt (e)\n i = Reciprocal (r)\n n = Mul (x, i)\n k = Mul (m, i)\n y = Sub (n, k)",
        ROWS,
        -1,
    ),
    "a gain over the deviation": (
        f"{CENTRED} q = Mul (d, d)\n {DEVIATION} f = Div (w, r)\n n = Mul (d, f)\n y = Add (n, b)",
        ROWS,
        -1,
    ),
    "mean of squares": (f"{SQUARES} i = Reciprocal (r)\n n = Mul (x, i)\n y = Mul (w, n)", ROWS, -1),
    "mean of squares by a quotient": (f"{SQUARES} n = Div (x, r)\n y = Mul (n, w)", ROWS, -1),
    "euclidean": ("r = ReduceL2 (x, a)\n c = Max (r, tiny)\n y = Div (x, c)", ROWS, -1),
    "euclidean by squares": (
        "q = Mul (x, x)\n s = ReduceSum (q, a)\n e = Add (s, eps)\n r = Sqrt (e)\n y = Div (x, r)",
        ROWS,
        -1,
    ),
    "instance": (f"{CENTRED} q = Mul (d, d)\n {DEVIATION} y = Div (d, r)", IMAGES, [2, 3]),
    "over channels": (f"{CENTRED} q = Pow (d, two)\n {DEVIATION} y = Div (d, r)", IMAGES, 1),
    "sums over their count": (
        "t = ReduceSum (x, a)\n m = Div (t, count)\n d = Sub (x, m)\n q = Mul (d, d)\n u = ReduceSum (q, a)\n"
        f"v = Mul (u, share)\n e = Add (v, eps)\n r = Sqrt (e)\n n = Div (d, r)\n {AFFINE}",
        ROWS,
        -1,
    ),
    "epsilon beside the root": (
        f"{CENTRED} q = Mul (d, d)\n v = ReduceMean (q, a)\n r = Sqrt (v)\n e = Add (r, eps)\n"
        f"n = Div (d, e)\n {AFFINE}",
        ROWS,
        -1,
    ),
    "euclidean, epsilon beside it": ("r = ReduceL2 (x, a)\n c = Add (r, tiny)\n y = Div (x, c)", ROWS, -1),
    "relu behind": (f"{CENTRED} q = Mul (d, d)\n {DEVIATION} n = Div (d, r)\n y = Relu (n)", ROWS, -1),
}
NUMBERS = "float two, float half, float eps, float tiny, float zero, float count, float share"
VALUES = {"two": 2.0, "half": 0.5, "eps": 1e-5, "tiny": 1e-12, "zero": 0.0, "count": 16, "share": 1 / 16}


def written(text: Any, body: str, inputs: str, axes: Any, outputs: str = "float[] y") -> onnx.ModelProto:
    values = {**VALUES, "a": axes, "w": np.linspace(0.5, 2, 16), "b": np.linspace(-1, 1, 16)}
    return text(body, inputs, outputs, f"int64[{np.size(axes)}] a, {NUMBERS}, float[16] w, float[16] b", values)


def answer(model: onnx.ModelProto, sample: dict[str, NDArray[Any]]) -> NDArray[Any]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, sample)[0])


@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize(("body", "inputs", "axes"), NORMS.values(), ids=NORMS)
def test_however_it_is_spelled_it_is_one_kernel(
    body: str, inputs: str, axes: Any, activations: str, text: Any, stages: Any, floats: Any, around: Any
) -> None:
    model = written(text, body, inputs, axes)
    made = stages(model, around(model, 0.4), QuantizeOptions(activations=activation_format(activations)))
    assert floats(made.integer) == set(), made.notes
    assert [call for call in made.calls if call not in ("Transpose", "Copy", "Clip")] == ["Normalize"]
    for sample in made.extremes():
        # Of a row of equal values, float's own mean is off by more than an int16's.
        assert made.error(sample) <= (1 if activations == "int8" else 2)


@pytest.mark.parametrize("gain", [1.0, 300.0])
@pytest.mark.parametrize(("body", "inputs", "axes"), NORMS.values(), ids=NORMS)
def test_it_keeps_the_accuracy_that_its_nodes_lose(
    body: str, inputs: str, axes: Any, gain: float, text: Any, stages: Any, around: Any
) -> None:
    model = written(text, body, inputs, axes)
    samples = around(model, 0.4 * gain, gain)
    made = stages(model, samples, inputs="float", outputs="float")
    pairs = [(answer(model, sample), answer(made.integer, sample)) for sample in samples]
    wanted, found = (np.stack(side) for side in zip(*pairs, strict=True))
    assert 10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()) > 33


KEPT = {
    "the mean is a result": (NORMS["layer without gain"][0], "float[] y, float[] m"),
    "the deviation is read": (NORMS["layer without gain"][0] + "\n z = Relu (r)", "float[] y, float[] z"),
    "squares of something else": (f"{CENTRED} q = Mul (x, x)\n {DEVIATION} y = Div (d, r)", "float[] y"),
    "much beside the root": (
        f"{CENTRED} q = Mul (d, d)\n v = ReduceMean (q, a)\n r = Sqrt (v)\n e = Add (r, half)\n y = Div (d, e)",
        "float[] y",
    ),
    "sums over another count": (
        "m = ReduceMean (x, a)\n d = Sub (x, m)\n q = Mul (d, d)\n u = ReduceSum (q, a)\n v = Div (u, three)\n"
        "e = Add (v, eps)\n r = Sqrt (e)\n y = Div (d, r)",
        "float[] y",
    ),
    "cubes": (
        f"{CENTRED} q = Pow (d, three)\n l = Abs (q)\n v = ReduceMean (l, a)\n r = Sqrt (v)\n y = Div (d, r)",
        "float[] y",
    ),
}


@pytest.mark.parametrize(("body", "outputs"), KEPT.values(), ids=KEPT)
def test_what_is_no_normalization_of_its_own_stays_as_it_is_written(
    body: str, outputs: str, text: Any, stages: Any
) -> None:
    weights = f"int64[1] a, {NUMBERS}, float three"
    values = {**VALUES, "three": 3.0, "a": -1}
    made = stages(text(body, ROWS, outputs, weights, values))
    assert "Normalize" not in made.calls
    for sample in made.extremes():
        made.run(sample)


def test_what_is_less_another_mean_is_normalized_by_its_own_squares(text: Any, stages: Any) -> None:
    body = f"h = Tanh (x)\n m = ReduceMean (h, a)\n d = Sub (x, m)\n q = Mul (d, d)\n {DEVIATION} y = Div (d, r)"
    made = stages(written(text, body, ROWS, -1))
    assert made.calls == ["Table", "ReduceMean", "Add", "Normalize"]
    for sample in made.extremes():
        made.run(sample)
