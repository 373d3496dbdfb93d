"""`--step`: the product computes what is new, integer.onnx is that step form, and gives the full form's bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel import UserError, optimize
from bevel.models import data
from bevel.models import path as reference
from bevel.passes.states.pairs import states_of

RNG = np.random.default_rng(3)
# Keyword spotting in little: [time, features], no padding in time, a mean over what is left of it.
SPOTTING = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,19,6,1] x) => (float[N,4] y)
{
    t = Transpose <perm = [0,3,1,2]> (x)
    a = Conv <strides = [2,2], pads = [0,1,0,1]> (t, w, p)
    b = Relu (a)
    c = Conv <group = 8, pads = [0,1,0,1]> (b, v, q)
    d = Relu (c)
    e = Conv (d, u)
    g = GlobalAveragePool (e)
    f = Flatten (g)
    y = MatMul (f, m)
}
"""
WEIGHTS = {"w": (8, 1, 5, 3), "p": (8,), "v": (8, 1, 3, 3), "q": (8,), "u": (8, 8, 1, 1), "m": (8, 4)}
# A causal network of temporal convolutions, one of them as PyTorch's users write it: padded on both sides, then cut.
CAUSAL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,16] x) => (float[N,2,16] y)
<int64[1] zero = {0}, int64[1] cut = {-4}, int64[1] axis = {2}>
{
    a = Conv <pads = [2, 0]> (x, w, p)
    b = Relu (a)
    c = Conv <pads = [4, 4], dilations = [2]> (b, v, q)
    d = Slice (c, zero, cut, axis)
    e = Add (d, b)
    f = Relu (e)
    y = Conv (f, u)
}
"""
CAUSAL_WEIGHTS = {"w": (6, 3, 3), "p": (6,), "v": (6, 6, 3), "q": (6,), "u": (2, 6, 1)}


def model(text: str, weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    made = onnx.parser.parse_model(text)
    for name, shape in weights.items():
        values = (RNG.standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for node in made.graph.node:
        node.name = node.output[0]
    return made


KEYWORDS, TEMPORAL = model(SPOTTING, WEIGHTS), model(CAUSAL, CAUSAL_WEIGHTS)
SAMPLES = {
    "keywords": {"x": RNG.standard_normal((12, 19, 6, 1)).astype(np.float32)},
    "temporal": {"x": RNG.standard_normal((12, 3, 16)).astype(np.float32)},
}
MODELS = {"keywords": KEYWORDS, "temporal": TEMPORAL}


def built(which: str, folder: Path, target: str, **more: Any) -> tuple[Any, Path]:
    samples = SAMPLES[which]
    options = {"name": "net", "calib": samples, "eval": samples, "step": True} | more
    return optimize(MODELS[which], target=target, output=folder / "out", **options), folder / "out"


def run(file: Path, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(file)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def expected_of(out: Path) -> np.ndarray:
    with np.load(out / "vectors.npz") as arrays:
        return np.asarray(arrays["expected:y"])


@pytest.mark.parametrize("target", ["cortex-m4", "host"])
def test_a_step_on_the_device_ends_with_what_the_full_form_gives_for_the_window(tmp_path: Path, target: str) -> None:
    report, out = built("keywords", tmp_path, target)
    step = report.step
    assert report.measurement.mismatches == 0
    assert (step.input, step.axis, step.columns, step.window, step.steps) == ("x", 1, 2, 19, 10)
    assert report.measurement.inputs == 11, "a window, and the first step of the next"
    window = SAMPLES["keywords"]["x"][:1]
    np.testing.assert_array_equal(expected_of(out)[9], run(out / "integer_full.onnx", {"x": window})["y"])
    (spent,) = [name for name in step.full if name in report.measurement.spent]
    assert not any(one.kernel == "Transpose" for one in report.measurement.per_kernel), "states lie as images do"
    if target != "host":  # so short a time says little
        assert 0 < report.measurement.spent[spent] < 0.4 * step.full[spent]
    assert "net_step" in (out / "net.h").read_text()
    integer = onnx.load(out / "integer.onnx")
    kept = [size_of(one) for one in integer.graph.input if one.name in states_of(integer)]
    assert report.size.product["state"] == sum(kept)


def size_of(value: onnx.ValueInfoProto) -> int:
    return int(np.prod([dim.dim_value for dim in value.type.tensor_type.shape.dim]))


@pytest.mark.parametrize("target", ["cortex-m4", "host"])
def test_padding_in_time_before_a_mean_is_that_of_each_window(tmp_path: Path, target: str) -> None:
    padded = SPOTTING.replace("<strides = [2,2], pads = [0,1,0,1]>", "<strides = [2,2], pads = [1,1,2,1]>")
    padded = padded.replace("<group = 8, pads = [0,1,0,1]>", "<group = 8, pads = [1,1,1,1]>")
    samples = SAMPLES["keywords"]
    options = {"name": "net", "calib": samples, "step": True}
    report = optimize(model(padded, WEIGHTS), target=target, output=tmp_path / "out", **options)
    assert report.measurement.mismatches == 0 and report.measurement.inputs == 11
    for window, ends in enumerate((9, 19)):
        full = run(tmp_path / "out" / "integer_full.onnx", {"x": samples["x"][window : window + 1]})["y"]
        if ends < report.measurement.inputs:
            np.testing.assert_array_equal(expected_of(tmp_path / "out")[ends], full)
    assert report.step.late == {}
    if target != "host":
        (spent,) = [name for name in report.step.full if name in report.measurement.spent]
        assert report.measurement.spent[spent] < 0.8 * report.step.full[spent]


def test_padding_in_time_can_give_way_to_the_columns_of_a_stream(tmp_path: Path) -> None:
    """One column of each layer is new then, and a result is that of a window that is longer by what layers reach."""
    padded = SPOTTING.replace("<strides = [2,2], pads = [0,1,0,1]>", "<strides = [2,2], pads = [1,1,2,1]>")
    padded = padded.replace("<group = 8, pads = [0,1,0,1]>", "<group = 8, pads = [1,1,1,1]>")
    made, samples = model(padded, WEIGHTS), SAMPLES["keywords"]
    options = {"name": "net", "calib": samples, "eval": samples, "step": True, "time_padding": "drop"}
    report = optimize(made, target="cortex-m4", output=tmp_path / "out", **options)
    assert report.measurement.mismatches == 0 and report.step.window == 3 + 19 + 3
    (spent,) = [name for name in report.step.full if name in report.measurement.spent]
    assert report.measurement.spent[spent] < 0.4 * report.step.full[spent]
    nodes = json.loads((tmp_path / "out" / "report.json").read_text())["nodes"]
    notes = [note["text"] for node in nodes for note in node["notes"]]
    (told,) = [text for text in notes if "no layer pads in time" in text]
    assert "3 columns before a window and 3 behind it" in told and "dB of them" in told
    longer = {"x": np.pad(samples["x"][:1], ((0, 0), (3, 3), (0, 0), (0, 0)))}
    full = run(tmp_path / "out" / "integer_full.onnx", longer)["y"]
    np.testing.assert_array_equal(expected_of(tmp_path / "out")[report.step.steps - 1], full)


def test_a_net_that_looks_ahead_says_by_how_much_it_is_late(tmp_path: Path) -> None:
    symmetric = CAUSAL.replace("pads = [2, 0]", "pads = [1, 1]").replace("cut = {-4}", "cut = {99}")
    symmetric = symmetric.replace("c = Conv <pads = [4, 4]", "c = Conv <pads = [2, 2]")
    samples = SAMPLES["temporal"]
    options = {"calib": samples, "name": "net", "step": True, "vectors": 16}
    report = optimize(model(symmetric, CAUSAL_WEIGHTS), target="cortex-m4", output=tmp_path / "out", **options)
    assert report.measurement.mismatches == 0 and report.step.late == {"y": 3}
    full = run(tmp_path / "out" / "integer_full.onnx", {"x": samples["x"][:1]})["y"]
    found = np.concatenate(list(expected_of(tmp_path / "out")[:16]), axis=2)
    np.testing.assert_array_equal(found[:, :, 3:], full[:, :, :13])
    assert ("late", "y: 3 columns") in report.step.rows(report.measurement.spent)


# Down and up again: a mask over time for each column, as networks that take noise away have it.
DOWN_AND_UP = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,16] x) => (float[N,2,16] y)
{
    a = Conv <strides = [2], pads = [1, 1]> (x, w, p)
    b = Relu (a)
    c = Conv <pads = [2, 0]> (b, v, q)
    d = ConvTranspose <strides = [2], pads = [1, 1]> (c, t)
    y = Sigmoid (d)
}
"""


@pytest.mark.parametrize("target", ["cortex-m4", "host"])
def test_a_transposed_convolution_gives_its_columns_as_they_come(tmp_path: Path, target: str) -> None:
    weights = {"w": (6, 3, 4), "p": (6,), "v": (6, 6, 3), "q": (6,), "t": (6, 2, 4)}
    samples = SAMPLES["temporal"]
    options = {"calib": samples, "name": "net", "step": True, "vectors": 8}
    report = optimize(model(DOWN_AND_UP, weights), target=target, output=tmp_path / "out", **options)
    assert report.measurement.mismatches == 0 and (report.step.columns, report.step.late) == (2, {"y": 3})
    full = run(tmp_path / "out" / "integer_full.onnx", {"x": samples["x"][:1]})["y"]
    found = np.concatenate(list(expected_of(tmp_path / "out")[:8]), axis=2)
    np.testing.assert_array_equal(found[:, :, 3:], full[:, :, :13])


def test_a_layer_that_reads_both_ways_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[8,1,3] x) => (float[8,2,1,4] y) { y = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, u) }
"""
    made = model(text, {"w": (2, 16, 3), "u": (2, 16, 4)})
    samples = {"x": RNG.standard_normal((4, 8, 1, 3)).astype(np.float32)}
    said = r"--step: y\.\w+: it reads backwards, from the newest column on: each step would have to begin anew"
    with pytest.raises(UserError, match=said):
        optimize(made, target="cortex-m4", calib=samples, output=tmp_path / "out", step=True)


def test_a_causal_net_gives_a_column_from_the_first_step_on(tmp_path: Path) -> None:
    report, out = built("temporal", tmp_path, "cortex-m4", vectors=16)
    assert report.measurement.mismatches == 0 and report.step.columns == 1
    full = run(out / "integer_full.onnx", {"x": SAMPLES["temporal"]["x"][:1]})["y"]
    found = np.concatenate(list(expected_of(out)[:16]), axis=2)
    np.testing.assert_array_equal(found, full)


def test_both_forms_are_files_and_accuracy_is_that_of_either(tmp_path: Path) -> None:
    report, out = built("keywords", tmp_path, "cortex-m4", device="none")
    plain = optimize(
        KEYWORDS,
        target="cortex-m4",
        output=tmp_path / "plain",
        device="none",
        name="net",
        calib=SAMPLES["keywords"],
        eval=SAMPLES["keywords"],
    )
    for name in ("quantized_full.onnx", "integer_full.onnx", "quantized.onnx", "integer.onnx"):
        assert (out / name).is_file()
    assert report.accuracy == plain.accuracy
    assert report.step.full is None and report.step.why == "no device"
    for name in ("quantized", "integer"):
        mine, other = (
            onnx.load(path).graph for path in (out / f"{name}_full.onnx", tmp_path / "plain" / f"{name}.onnx")
        )
        assert mine.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def test_a_stream_is_equal_window_for_window_in_stock_onnxruntime(tmp_path: Path) -> None:
    """Written anew: feed columns and what came out, and compare with each window that ends there."""
    _, out = built("keywords", tmp_path, "cortex-m4", device="none")
    columns = RNG.standard_normal((1, 60, 6, 1)).astype(np.float32)
    session, states = ort.InferenceSession(out / "integer.onnx"), states_of(onnx.load(out / "integer.onnx"))
    kept = {one.name: np.zeros(one.shape, np.float32) for one in session.get_inputs() if one.name in states}
    names = [one.name for one in session.get_outputs()]
    compared = 0
    for end in range(2, 61, 2):
        outputs = dict(zip(names, session.run(names, {"x": columns[:, end - 2 : end], **kept}), strict=True))
        kept = {into: outputs[name] for into, name in states.items()}
        if end >= 20:
            expected = run(out / "integer_full.onnx", {"x": columns[:, end - 19 : end]})["y"]
            np.testing.assert_array_equal(outputs["y"], expected)
            compared += 1
    assert compared == 21


FORMATS = [{"activations": "int16"}, {"activations": "int5", "weights": "int4"}, {"inputs": "quantized"}]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::bevel.tools.run.api.ResultWarning")
@pytest.mark.parametrize("options", FORMATS)
def test_formats_go_with_it(tmp_path: Path, options: dict[str, str]) -> None:
    report, _ = built("keywords", tmp_path, "cortex-m4", **options)
    assert report.measurement.mismatches == 0


@pytest.mark.long
def test_a_model_that_came_quantized_has_a_step_form_too(tmp_path: Path) -> None:
    built("keywords", tmp_path, "cortex-m4", device="none")
    report = optimize(
        tmp_path / "out" / "quantized_full.onnx",
        target="cortex-m4",
        eval=SAMPLES["keywords"],
        output=tmp_path / "again",
        step=True,
    )
    assert report.measurement.mismatches == 0 and report.step.columns == 2


def test_a_bundle_is_measured_again_with_columns(tmp_path: Path) -> None:
    from bevel.tools.command.measure import measure_bundle

    _, out = built("keywords", tmp_path, "cortex-m4")
    np.savez(tmp_path / "columns.npz", x=RNG.standard_normal((3, 7, 2, 6, 1)).astype(np.float32))
    _, measured, right = measure_bundle(out, None, tmp_path / "columns.npz", 21)
    assert right and measured.inputs == 21


# A decoder of one layer: words, rotated places, two heads of queries to one of keys, a causal mask.
DECODER = """
<ir_version: 8, opset_import: ["" : 17]>
net (int64[N,8] ids) => (float[N,8,13] logits)
<int64[4] queries = {1, 8, 2, 4}, int64[5] shared = {1, 8, 1, 1, 4}, int64[5] twice = {1, 1, 1, 2, 1},
 int64[3] joined = {1, 8, 8}, int64[2] halves = {2, 2}, float factor = {0.5}>
{
    h = Gather (words, ids)
    q = MatMul (h, wq)
    k = MatMul (h, wk)
    v = MatMul (h, wv)
    q4 = Reshape (q, queries)
    q_left, q_right = Split <axis = -1> (q4, halves)
    q_turned = Neg (q_right)
    q_other = Concat <axis = -1> (q_turned, q_left)
    q_cos = Mul (q4, cosines)
    q_sin = Mul (q_other, sines)
    q_placed = Add (q_cos, q_sin)
    k5 = Reshape (k, shared)
    k6 = Tile (k5, twice)
    k4 = Reshape (k6, queries)
    v5 = Reshape (v, shared)
    v6 = Tile (v5, twice)
    v4 = Reshape (v6, queries)
    qt = Transpose <perm = [0, 2, 1, 3]> (q_placed)
    kt = Transpose <perm = [0, 2, 3, 1]> (k4)
    vt = Transpose <perm = [0, 2, 1, 3]> (v4)
    s = MatMul (qt, kt)
    f = Mul (s, factor)
    m = Add (f, mask)
    a = Softmax <axis = -1> (m)
    o = MatMul (a, vt)
    ot = Transpose <perm = [0, 2, 1, 3]> (o)
    o3 = Reshape (ot, joined)
    r = Add (o3, h)
    logits = MatMul (r, head)
}
"""
ANGLES = np.outer(np.arange(8), [1.0, 0.1, 1.0, 0.1]).reshape(1, 8, 1, 4)
TABLES = {
    "mask": np.where(np.triu(np.ones((8, 8), bool), 1), -1e9, 0.0),
    "cosines": np.cos(ANGLES),
    "sines": np.sin(ANGLES),
}


def decoder() -> onnx.ModelProto:
    made = model(DECODER, {"words": (13, 8), "wq": (8, 8), "wk": (8, 4), "wv": (8, 4), "head": (8, 13)})
    for name, values in TABLES.items():
        made.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return made


@pytest.mark.parametrize(("cache", "row"), [(None, 4 + 4), ("int4", 2 + 2), ("int8/int4", 4 + 2)])
@pytest.mark.parametrize("target", ["cortex-m7", "host"])
def test_a_decoder_takes_one_token_and_gives_what_the_full_form_gives(
    tmp_path: Path, target: str, cache: str | None, row: int
) -> None:
    tokens = {"ids": RNG.integers(0, 13, (16, 8))}
    options = {"calib": tokens, "eval": tokens, "name": "net", "step": True, "cache": cache}
    report = optimize(decoder(), target=target, output=tmp_path / "out", **options)
    assert report.measurement.mismatches == 0 and report.measurement.inputs == 9
    assert (report.step.columns, report.step.steps) == (1, 8)
    full = run(tmp_path / "out" / "integer_full.onnx", {"ids": tokens["ids"][:1]})["logits"]
    with np.load(tmp_path / "out" / "vectors.npz") as arrays:
        found = arrays["expected:logits"][:8, :, 0]
    np.testing.assert_array_equal(found.transpose(1, 0, 2), full)
    kept = states_of(onnx.load(tmp_path / "out" / "integer.onnx"))
    assert kept.keys() == {"position/past", "k.product/past", "v.product/past"}
    sizes = {one.name: size_of(one) for one in onnx.load(tmp_path / "out" / "integer.onnx").graph.input}
    assert sizes["k.product/past"] == 8 * 4, "keys are kept before they are repeated"
    assert report.size.product["state"] == 8 + 8 * row, "codes of four bits lie two to a byte"


def test_keys_far_from_zero_are_centred_before_few_bits_keep_them(tmp_path: Path) -> None:
    """By an addition of its own behind a function of them; the cache keeps its format, and what it is called."""
    made = onnx.parser.parse_model(
        DECODER.replace("k = MatMul (h, wk)", "kw = MatMul (h, wk)\n kb = Add (kw, far)\n k = LeakyRelu (kb)")
    )
    made.graph.initializer.extend(decoder().graph.initializer)
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([40, 20, 30, 10], np.float32), "far"))
    loud = next(one for one in made.graph.initializer if one.name == "wq")  # scores that a mask's clamp would hold
    loud.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(loud) * np.float32(3), "wq"))
    for node in made.graph.node:
        node.name = node.output[0]
    tokens = {"ids": RNG.integers(0, 13, (16, 8))}
    options = {"calib": tokens, "eval": tokens, "target": "cortex-m7", "step": True, "cache": "int4/int8"}
    plain = optimize(made, output=tmp_path / "plain", transform="none", device="none", **options)
    report = optimize(made, output=tmp_path / "out", **options)
    assert "center-keys" in [one.transform for one in report.transforms]
    assert report.measurement.mismatches == 0
    assert report.size.product["state"] == 8 + 8 * (2 + 4)
    assert report.accuracy.sqnr_db > plain.accuracy.sqnr_db + 3


def test_an_lstm_takes_a_row_at_a_time_and_goes_on_from_its_states(tmp_path: Path) -> None:
    report = optimize(
        reference("lstm"), target="cortex-m7", calib=data("calib"), calib_samples=32, output=tmp_path / "out", step=True
    )
    assert report.measurement.mismatches == 0 and report.step.steps == 8
    assert report.measurement.spent["instructions"] < 0.2 * report.step.full["instructions"]
    assert len(states_of(onnx.load(tmp_path / "out" / "integer.onnx"))) == 2


@pytest.mark.long
def test_the_reference_network_of_rows_takes_a_row_at_a_time(tmp_path: Path) -> None:
    report = optimize(
        reference("rows"),
        target="cortex-m7",
        calib=data("calib"),
        eval=data("eval"),
        output=tmp_path / "out",
        step=True,
    )
    assert report.measurement.mismatches == 0
    assert (report.step.axis, report.step.columns, report.step.steps) == (2, 1, 8)
    assert report.measurement.spent["instructions"] < 0.4 * report.step.full["instructions"]
    assert report.accuracy.top1_integer > 0.97


@pytest.mark.long
def test_a_scale_for_each_row_is_that_of_a_token(tmp_path: Path) -> None:
    made, tokens = decoder(), {"ids": np.random.default_rng(0).integers(0, 13, (16, 8))}
    words = next(one for one in made.graph.initializer if one.name == "words")
    loud = onnx.numpy_helper.to_array(words) * np.where(np.arange(13) < 3, 30, 1)[:, None]
    words.CopyFrom(onnx.numpy_helper.from_array(loud.astype(np.float32), "words"))
    options = {"product_inputs": "int4", "row_scales": "on", "transform": "none"}
    report = optimize(made, target="cortex-m7", calib=tokens, output=tmp_path / "out", name="net", step=True, **options)
    assert report.measurement.mismatches == 0
    assert "RoundRows" in {one.kernel for one in report.measurement.per_kernel}
    full = run(tmp_path / "out" / "integer_full.onnx", {"ids": tokens["ids"][:1]})["logits"]
    with np.load(tmp_path / "out" / "vectors.npz") as arrays:
        np.testing.assert_array_equal(arrays["expected:logits"][:8, :, 0].transpose(1, 0, 2), full)


REFUSED = {
    "axis": (SPOTTING, {"time_axis": "9"}, "--time-axis 9: input x has axes 0 to 3"),
    "name": (SPOTTING, {"time_axis": "z:1"}, "--time-axis z:1: write N, or INPUT:N; the inputs are x"),
    "sign": (SPOTTING, {"time_axis": "x:--1"}, "--time-axis x:--1: write N, or INPUT:N"),
    "widths": (SPOTTING, {"switchable": "8,4"}, "--step goes without --switchable"),
    "pass": (SPOTTING, {"pass_option": "switch-widths.bits=6,4"}, "--step goes without --switchable"),
    "budget": (SPOTTING, {"max_flash": "64k"}, "--step goes without budgets"),
    "cache": (SPOTTING, {"step": False, "cache": "int4"}, "--cache is for --step; give both"),
    "format": (SPOTTING, {"cache": "int3.5"}, "int3.5"),
    "of values": (SPOTTING, {"cache": "int8/int3.5"}, "int3.5"),
    "alone": (SPOTTING, {"step": False, "time_axis": "1"}, "--time-axis is for --step; give both"),
    "padding": (SPOTTING, {"step": False, "time_padding": "drop"}, "--time-padding is for --step; give both"),
    "word": (SPOTTING, {"time_padding": "none"}, "--time-padding 'none': give one of keep, drop"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_a_line(case: str, tmp_path: Path) -> None:
    text, options, said = REFUSED[case]
    given = {"calib": SAMPLES["keywords"], "step": True} | options
    with pytest.raises(UserError, match=said):
        optimize(model(text, WEIGHTS), target="cortex-m4", output=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_model_with_states_is_a_step_form_already(tmp_path: Path) -> None:
    built("keywords", tmp_path, "cortex-m4", device="none")
    with pytest.raises(UserError, match=r"the model keeps .*/past already: it is a step form"):
        optimize(tmp_path / "out" / "quantized.onnx", target="cortex-m4", output=tmp_path / "again", step=True)


def test_the_axis_is_a_choice(tmp_path: Path) -> None:
    report, out = built("keywords", tmp_path, "cortex-m4", device="none")
    notes = [note["text"] for node in json.loads((out / "report.json").read_text())["nodes"] for note in node["notes"]]
    assert report.step.axis == 1
    assert any("computed for the whole window in each step" in text for text in notes)
