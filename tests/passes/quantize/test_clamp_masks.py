"""What a mask bars from a Softmax leaves the scores their range, however the mask is spelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from bevel.calib.observe.observe import observe
from bevel.passes.base import Note
from bevel.passes.canonicalize import canonicalize
from bevel.passes.integerize.integerize import integerize
from bevel.passes.quantize import QuantizeOptions, export, quantize
from bevel.passes.quantize.clamp_masks import clamp_masks

Array = NDArray[Any]
Sample = dict[str, Array]
N = 6
CAUSAL = np.triu(np.ones((N, N), bool), 1)
INPUTS = f"float[1,2,{N},4] q, float[1,2,4,{N}] k, float[1,2,{N},4] v"
SCORES = "s = MatMul (q, k)"
END = "o = MatMul (p, v)\n y = Relu (o)"


def barred(value: float) -> Array:
    return np.where(CAUSAL, value, 0.0)


# The body between the scores `s` and the shares `p`; weights and their values.
SPELLINGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "added": ("m = Add (s, c)\n p = Softmax (m)", f"float[{N},{N}] c", {"c": barred(-1e9)}),
    "added from the left, -10000": ("m = Add (c, s)\n p = Softmax (m)", f"float[{N},{N}] c", {"c": barred(-1e4)}),
    "added, infinite": ("m = Add (s, c)\n p = Softmax (m)", f"float[{N},{N}] c", {"c": barred(-np.inf)}),
    "the lowest float": ("m = Add (s, c)\n p = Softmax (m)", f"float[{N},{N}] c", {"c": barred(-3.4e38)}),
    "subtracted": ("m = Sub (s, c)\n p = Softmax (m)", f"float[{N},{N}] c", {"c": barred(1e9)}),
    "scaled afterwards": (
        "m = Add (s, c)\n d = Div (m, r)\n p = Softmax (d)",
        f"float[{N},{N}] c, float r",
        {"c": barred(-1e9), "r": 2.0},
    ),
    "scaled before": (
        "d = Mul (s, r)\n m = Add (d, c)\n p = Softmax (m)",
        f"float[{N},{N}] c, float r",
        {"c": barred(-1e9), "r": 0.5},
    ),
    "chosen by a Where": (
        "m = Where (b, s, c)\n p = Softmax (m)",
        f"bool[{N},{N}] b, float c",
        {"b": ~CAUSAL, "c": -np.inf},
    ),
    "filled by a Where": (
        "m = Where (b, c, s)\n p = Softmax (m)",
        f"bool[{N},{N}] b, float c",
        {"b": CAUSAL, "c": -1e9},
    ),
    "chosen, then added": (
        "m = Where (b, s, c)\n a = Add (m, d)\n p = Softmax (a)",
        f"bool[{N},{N}] b, float c, float[{N}] d",
        {"b": ~CAUSAL, "c": -3.4e38, "d": np.array([0, 0, 0, 0, 0, -1e9])},
    ),
    "zeroed, then added": (
        "z = Mul (s, k01)\n m = Add (z, c)\n p = Softmax (m)",
        f"float[{N},{N}] k01, float[{N},{N}] c",
        {"k01": ~CAUSAL, "c": barred(-1e9)},
    ),
    "made by constants": (
        "i = Sub (one, k01)\n c = Mul (i, far)\n m = Add (s, c)\n p = Softmax (m)",
        f"float[{N},{N}] k01, float one, float far",
        {"k01": ~CAUSAL, "one": 1.0, "far": -1e9},
    ),
    "reshaped before": (
        "a = Add (s, c)\n m = Reshape (a, h)\n t = Softmax (m)\n p = Reshape (t, g)",
        f"float[{N},{N}] c, int64[3] h, int64[4] g",
        {"c": barred(-1e9), "h": [2, N, N], "g": [1, 2, N, N]},
    ),
    "held above the lowest float": (
        "a = Add (s, c)\n m = Max (a, f)\n p = Softmax (m)",
        f"float[{N},{N}] c, float f",
        {"c": barred(-3e38), "f": -3.4e38},
    ),
}
# Those that are part of the Softmax; what the others bar is clamped.
TAKEN = {
    *("added", "added from the left, -10000", "added, infinite", "the lowest float", "subtracted", "scaled before"),
    *("scaled afterwards", "chosen by a Where", "filled by a Where", "zeroed, then added", "made by constants"),
}
KEYS = np.array([1, 1, 1, 1, 0, 0], np.float32).reshape(1, 1, 1, N)
GIVEN: dict[str, tuple[str, str, Array]] = {
    "as it is added": ("m = Add (s, given)\n p = Softmax (m)", "", (1 - KEYS) * -1e9),
    "of ones and zeros": (
        "i = Sub (one, given)\n c = Mul (i, far)\n m = Add (s, c)\n p = Softmax (m)",
        "float one, float far",
        KEYS,
    ),
    "less one, times a billion": (
        "i = Sub (given, one)\n c = Mul (i, far)\n m = Add (s, c)\n p = Softmax (m)",
        "float one, float far",
        KEYS,
    ),
}


class Runs(list[Sample]):
    """Samples as a data set."""


def samples(model: onnx.ModelProto, given: Array | None = None, scale: float = 1.0) -> Runs:
    rng = np.random.default_rng(0)
    shapes = {one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in model.graph.input}
    runs = Runs()
    for _ in range(6):
        sample = {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
        runs.append(sample | ({} if given is None else {"given": given.astype(np.float32)}))
    return runs


def result(model: onnx.ModelProto, sample: Sample) -> Array:
    (y,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, sample)
    return np.asarray(y)


def clamped(model: onnx.ModelProto, runs: Runs) -> tuple[onnx.ModelProto, list[Note], onnx.ModelProto]:
    """The float model with its masks clamped, the notes, and the quantized model."""
    graph, _ = canonicalize(model, runs[:1])
    notes = clamp_masks(graph, runs)
    float_model = gs.export_onnx(graph)
    quantized = quantize(graph, observe(float_model, runs, QuantizeOptions().wants(graph)), QuantizeOptions())
    return float_model, notes, export(quantized.graph)


def integer_nodes_of(quantized: onnx.ModelProto) -> list[onnx.NodeProto]:
    return list(integerize(gs.import_onnx(quantized))[0].graph.node)


def decibels(wanted: Array, found: Array) -> float:
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


@pytest.mark.parametrize("name", SPELLINGS)
def test_scores_keep_their_range_however_the_mask_is_spelled(name: str, text: Any) -> None:
    middle, weights, values = SPELLINGS[name]
    model = text("\n".join((SCORES, middle, END)), INPUTS, "float[] y", weights, values)
    runs = samples(model)
    float_model, notes, quantized = clamped(model, runs)
    assert [note.kind for note in notes] == ([] if name in TAKEN else ["changed"])
    taken = [node.op_type for node in integer_nodes_of(quantized) if node.op_type.startswith("Masked")]
    assert taken == (["MaskedSoftmax"] if name in TAKEN else [])
    for sample in runs:
        wanted = result(model, sample)
        np.testing.assert_allclose(result(float_model, sample), wanted, atol=2e-4)
        assert decibels(wanted, result(quantized, sample)) > 28


@pytest.mark.parametrize(("middle", "weights", "given"), GIVEN.values(), ids=GIVEN)
def test_a_mask_that_is_an_input_keeps_the_range_too(middle: str, weights: str, given: Array, text: Any) -> None:
    values = {"one": 1.0, "far": 1e9 if "given, one" in middle else -1e9}
    inputs = f"{INPUTS}, float[1,1,1,{N}] given"
    model = text("\n".join((SCORES, middle, END)), inputs, "float[] y", weights, values)
    runs = samples(model, given)
    float_model, notes, quantized = clamped(model, runs)
    assert notes
    for sample in runs:
        wanted = result(model, sample)
        np.testing.assert_allclose(result(float_model, sample), wanted, atol=2e-4)
        assert decibels(wanted, result(quantized, sample)) > 28


KEPT = {
    "not before a softmax": ("m = Add (s, c)\n p = Sigmoid (m)", ""),
    "read by another node": ("m = Add (s, c)\n p = Softmax (m)\n r = Relu (m)", ", float[] r"),
    "a result of the model": ("m = Add (s, c)\n p = Softmax (m)", ", float[] m"),
}


@pytest.mark.parametrize(("middle", "outputs"), KEPT.values(), ids=KEPT)
def test_what_somebody_else_sees_is_kept(middle: str, outputs: str, text: Any) -> None:
    body = "\n".join((SCORES, middle, END))
    model = text(body, INPUTS, f"float[] y{outputs}", f"float[{N},{N}] c", {"c": barred(-1e9)})
    graph, _ = canonicalize(model, samples(model)[:1])
    before = gs.export_onnx(graph)
    assert clamp_masks(graph, samples(model)) == []
    assert gs.export_onnx(graph) == before


def test_scores_without_a_mask_are_left_alone(text: Any) -> None:
    """However wide they are: a bias is no mask, and scores that a product makes are none."""
    body = "\n".join((SCORES, "m = Add (s, c)\n p = Softmax (m)", END))
    model = text(body, INPUTS, "float[] y", f"float[{N},{N}] c", {"c": np.linspace(-2, 2, N * N).reshape(N, N)})
    for scale in (1.0, 30.0):
        graph, _ = canonicalize(model, samples(model)[:1])
        assert clamp_masks(graph, samples(model, scale=scale)) == []


def test_a_row_that_is_barred_as_a_whole_moves_no_bound(text: Any) -> None:
    mask = barred(-1e9)
    mask[2] = -1e9
    body = "\n".join((SCORES, "m = Add (s, c)\n p = Softmax (m)", END))
    model = text(body, INPUTS, "float[] y", f"float[{N},{N}] c", {"c": mask})
    runs = samples(model)
    float_model, notes, _ = clamped(model, runs)
    assert notes
    for sample in runs:
        np.testing.assert_allclose(result(float_model, sample), result(model, sample), atol=2e-4)


def test_a_mask_of_two_layers_is_clamped_for_each(text: Any) -> None:
    first = "a = Add (s, c)\n m = Max (a, f)\n p = Softmax (m)\n y1 = MatMul (p, v)"
    second = "t = MatMul (y1, k)\n n = Add (t, c)\n o = Max (n, f)\n u = Softmax (o)\n y = MatMul (u, v)"
    values = {"c": barred(-1e9), "f": -3.4e38}
    model = text("\n".join((SCORES, first, second)), INPUTS, "float[] y", f"float[{N},{N}] c, float f", values)
    runs = samples(model)
    float_model, notes, _ = clamped(model, runs)
    assert len(notes) == 2
    lows = [onnx.numpy_helper.to_array(one).min() for one in float_model.graph.initializer]
    assert -100 < min(low for low in lows if low > -3e38) < 0  # those held by a Max are as they were


def test_scores_are_held_within_what_the_softmax_behind_a_mask_tells_apart(text: Any) -> None:
    """Those that are barred may be far above, and those far below take no share."""
    body = "\n".join((SCORES, "t = Add (s, e)\n m = Add (t, c)\n p = Softmax (m)", END))
    values = {"c": barred(-1e9), "e": barred(500.0)}
    model = text(body, INPUTS, "float[] y", f"float[{N},{N}] c, float[{N},{N}] e", values)
    runs = samples(model)
    float_model, (note,), quantized = clamped(model, runs)
    assert "held within" in note.text and note.numbers["held_below"] < note.numbers["highest"] / 50
    for sample in runs:
        wanted = result(model, sample)
        np.testing.assert_allclose(result(float_model, sample), wanted, atol=2e-4)
        assert decibels(wanted, result(quantized, sample)) > 28


NEAR = {
    "it bars whole rows": ("m = Add (s, c)\n p = Softmax (m)", {"c": np.full((N, N), -1e9)}),
    "makes more of the scores than they are": (
        "m = Add (s, c)\n q2 = Softmax (m)\n p = ReduceMax <keepdims = 0> (q2, axes)",
        {"c": np.stack([barred(-1e9)] * 2)[:, None, None], "axes": [0]},
    ),
}


@pytest.mark.parametrize(("reason", "middle", "values"), [(reason, *rest) for reason, rest in NEAR.items()], ids=NEAR)
def test_a_mask_that_stays_apart_is_noted(reason: str, middle: str, values: dict[str, Any], text: Any) -> None:
    weights = f"float[{','.join(map(str, values['c'].shape))}] c, int64[1] axes"
    model = text("\n".join((SCORES, middle, END)), INPUTS, "float[] y", weights, {"axes": [0], **values})
    graph, _ = canonicalize(model, samples(model)[:1])
    assert any(reason in note.text and note.kind == "refused" for note in clamp_masks(graph, samples(model)))
