"""State between runs, from a float model to the device: quantized alike on both sides, kept in the arena, reset."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel import UserError, optimize
from bevel.calib.formats.stored import StoredArray
from bevel.passes.states.pairs import states_of
from javascript import WASM, answer

SEQUENCES, STEPS = 6, 5
# A gated cell, and a window of the last three columns that a convolution reads.
TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,6] x, float[N,8] h, float[N,6,2] conv_cache) => (float[N,4] y, float[N,8] hn, float[N,6,2] new_conv_cache)
<int64[1] last = {2}, int64[1] one = {1}, int64[1] three = {3}>
{
    column = Unsqueeze (x, last)
    window = Concat <axis = 2> (conv_cache, column)
    new_conv_cache = Slice (window, one, three, last)
    seen = Conv (window, kernel, offset)
    positive = Relu (seen)
    flat = Flatten (positive)
    mixed = MatMul (flat, input_weights)
    before = MatMul (h, state_weights)
    sums = Add (mixed, before)
    hn = Tanh (sums)
    y = MatMul (hn, head)
}
"""
WEIGHTS = {"kernel": (5, 6, 3), "offset": (5,), "input_weights": (5, 8), "state_weights": (8, 8), "head": (8, 4)}
RNG = np.random.default_rng(2)


def model() -> onnx.ModelProto:
    made = onnx.parser.parse_model(TEXT)
    for name, shape in WEIGHTS.items():
        values = (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return made


MODEL = model()
SAMPLES = {"x": RNG.standard_normal((SEQUENCES, STEPS, 6)).astype(np.float32)}


def built(folder: Path, target: str, **more: Any) -> tuple[Any, Path]:
    options = {"name": "net", "vectors": 12} | more
    return optimize(MODEL, target=target, calib=SAMPLES, output=folder / "out", **options), folder / "out"


def stepped(file: Path, samples: dict[str, np.ndarray], starts: list[bool]) -> dict[str, np.ndarray]:
    """What stock onnxruntime answers step by step, written here anew."""
    session, states = ort.InferenceSession(file), states_of(onnx.load(file))
    zeros = {one.name: np.zeros(one.shape, np.float32) for one in session.get_inputs() if one.name in states}
    names, held, rows = [one.name for one in session.get_outputs()], zeros, []
    for step, begins in enumerate(starts):
        given = {name: array[step] for name, array in samples.items()} | (zeros if begins else held)
        outputs = dict(zip(names, session.run(None, given), strict=True))
        held = {into: outputs[out] for into, out in states.items()}
        rows.append({name: value for name, value in outputs.items() if name not in states.values()})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("target", ["cortex-m4", "rv32imc", "host", WASM])
def test_a_device_goes_through_sequences_as_integer_onnx_does(tmp_path: Path, target: str) -> None:
    report, out = built(tmp_path, target, eval=SAMPLES)
    assert report.measurement.mismatches == 0 and report.measurement.inputs == 12
    with np.load(out / "vectors.npz") as arrays:
        vectors = dict(arrays)
    begins = vectors.pop("begins").tolist()
    assert begins == [step % STEPS == 0 for step in range(12)]
    inputs = {name.removeprefix("input:"): array for name, array in vectors.items() if name.startswith("input:")}
    assert inputs.keys() == {"x"}
    expected = stepped(out / "integer.onnx", inputs, begins)
    assert vectors.keys() == {"input:x", "expected:y"}
    np.testing.assert_array_equal(vectors["expected:y"], expected["y"])
    alone = stepped(out / "integer.onnx", inputs, [True] * 12)
    assert (alone["y"] != expected["y"]).any(), "the states change nothing: the test shows little"


def test_javascript_goes_on_until_it_resets(tmp_path: Path) -> None:
    """Every third step begins anew."""
    _, out = built(tmp_path, "wasm32", eval=SAMPLES)
    with np.load(out / "vectors.npz") as arrays:
        x = arrays["input:x"][:6]
    begins = [step % 3 == 0 for step in range(len(x))]
    body = """
const rows = given.x.map((values, step) => {
  if (given.begins[step]) model.reset();
  model.inputs.x.set(values.flat());
  model.run();
  return Array.from(model.outputs.y);
});
answer(rows);
"""
    rows = answer(out, "net", {"x": x.tolist(), "begins": begins}, body, tmp_path)
    expected = stepped(out / "integer.onnx", {"x": x}, begins)["y"]
    np.testing.assert_array_equal(np.array(rows, np.float32).reshape(expected.shape), expected)
    assert "reset(): void" in (out / "net.d.mts").read_text()


def test_both_sides_of_a_state_have_one_quantizer_and_the_arena_holds_its_integers(tmp_path: Path) -> None:
    report, out = built(tmp_path, "cortex-m4")
    graph = onnx.load(out / "integer.onnx").graph
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    for into, out_name in (("h", "hn"), ("conv_cache", "new_conv_cache")):
        (entry,) = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == into]
        (exit_,) = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.output[0] == out_name]
        for mine, other in zip(entry.input[1:], exit_.input[1:], strict=True):
            np.testing.assert_array_equal(constants[mine], constants[other])
    assert report.size.product["state"] == 8 + 6 * 2
    header = (out / "net.h").read_text()
    assert "void net_step(void *arena);" in header and "void net_reset(void *arena);" in header
    assert "net_run" not in header and "conv_cache" not in header and "20 bytes" in header
    manifest = json.loads((out / "manifest.json").read_text())["artifact"]
    assert [one["port"]["name"] for one in manifest["inputs"]] == ["x"] and manifest["entry"] == "net_step"


def test_an_arena_goes_on_where_it_was_until_it_is_reset(tmp_path: Path) -> None:
    _, out = built(tmp_path, "host")
    library = ctypes.CDLL(str(out / "libnet.so"))
    manifest = json.loads((out / "manifest.json").read_text())["artifact"]
    arena = np.full(manifest["plan"]["arena_bytes"] + 64, 0x5A, np.uint8)
    base = arena[-arena.ctypes.data % 64 :]
    (source,), (result,) = manifest["inputs"], manifest["outputs"]
    pointer = ctypes.c_void_p(base.ctypes.data)
    starts = [step % 7 == 0 for step in range(21)]
    x = RNG.standard_normal((21, 1, 6)).astype(np.float32)
    found = []
    for step, begins in enumerate(starts):
        if begins:
            library.net_reset(pointer)
        base[source["offset"] :][:24] = x[step].view(np.uint8).ravel()
        library.net_step(pointer)
        found.append(base[result["offset"] :][:16].view(np.float32).copy())
    np.testing.assert_array_equal(np.stack(found)[:, None], stepped(out / "integer.onnx", {"x": x}, starts)["y"])


EDGES = {"inputs": "quantized", "outputs": "quantized"}
FORMATS = [{"activations": "int16"}, {"activations": "int5"}, {"activations": "e4m3"}, EDGES]


@pytest.mark.filterwarnings("ignore::bevel.tools.run.api.ResultWarning")
@pytest.mark.parametrize("options", FORMATS)
def test_states_have_the_formats_of_activations(tmp_path: Path, options: dict[str, str]) -> None:
    report, out = built(tmp_path, "cortex-m4", **options)
    assert report.measurement.mismatches == 0
    assert states_of(onnx.load(out / "quantized.onnx")) == {"h": "hn", "conv_cache": "new_conv_cache"}


def test_a_state_that_is_named_is_one_and_one_that_is_not_wanted_is_an_input(tmp_path: Path) -> None:
    samples = SAMPLES | {"conv_cache": np.zeros((SEQUENCES, STEPS, 6, 2), np.float32)}
    report = optimize(
        MODEL, target="cortex-m4", calib=samples, output=tmp_path / "out", state=["h=hn", "none"], name="net"
    )
    assert report.measurement.mismatches == 0 and report.size.product["state"] == 8
    assert "net_set_input_conv_cache" in (tmp_path / "out" / "net.h").read_text()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::bevel.tools.run.api.ResultWarning")
def test_budgets_are_of_the_product_with_state_and_of_models_that_go_on_from_their_own(tmp_path: Path) -> None:
    evaluation = {"x": np.random.default_rng(9).standard_normal((4, 24, 6)).astype(np.float32)}
    options = {"eval": evaluation, "formats": "int8,int6", "transform": "none", "device": "none"}
    (plain, _) = built(tmp_path / "plain", "cortex-m4", **{**options, "formats": None})
    flash, decibels = plain.size.product["flash"], plain.accuracy.sqnr_db
    report, _ = built(tmp_path / "kept", "cortex-m4", max_flash=flash, **options)
    assert report.size.product["flash"] <= flash and report.size.product["state"] == 20
    with pytest.raises(UserError, match=f"keep --min-sqnr 90: {decibels:.2f} dB with int8 everywhere"):
        built(tmp_path / "refused", "cortex-m4", min_sqnr=90.0, **options)


@pytest.mark.filterwarnings("ignore::bevel.tools.run.api.ResultWarning")
def test_random_steps_choose_no_transform(tmp_path: Path) -> None:
    """They say nothing of ranges, in sequences as well."""
    report = optimize(MODEL, target="cortex-m4", calib="random", device="none", output=tmp_path / "out", name="net")
    (node,) = (node for node in report.nodes if node.name == "model")
    assert [note.text for note in node.notes if "nothing is tried" in note.text] and report.transforms == ()
    assert not [note for note in node.notes if "held-out" in note.text]


def test_a_pair_that_is_none_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--state h=y: the input is float32 \[1, 8\], the output float32 \[1, 4\]"):
        built(tmp_path, "cortex-m4", state=["h=y"])
    with pytest.raises(UserError, match="--state h: write IN=OUT"):
        built(tmp_path, "cortex-m4", state="h")
    assert not (tmp_path / "out").exists()


def test_samples_of_states_are_zeros_or_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'h' is state, which begins with zeros"):
        optimize(
            MODEL,
            target="cortex-m4",
            calib=SAMPLES | {"h": np.ones((SEQUENCES, 1, 8), np.float32)},
            output=tmp_path / "out",
        )


def test_a_quantized_model_keeps_its_states_when_it_comes_in_again(tmp_path: Path) -> None:
    _, out = built(tmp_path, "cortex-m4")
    report = optimize(out / "quantized.onnx", target="cortex-m4", eval=SAMPLES, output=tmp_path / "again")
    assert report.measurement.mismatches == 0 and report.size.product["state"] == 20


def test_vectors_lie_in_the_bundle_with_their_beginnings(tmp_path: Path) -> None:
    _, out = built(tmp_path, "cortex-m4")
    assert StoredArray.at(out / "vectors.npz", "begins").shape == (12,)


@pytest.mark.parametrize("name", ["model", "report", "board", "memory_image"])
def test_a_model_may_be_called_like_a_file_of_the_firmware(tmp_path: Path, name: str) -> None:
    report, _ = built(tmp_path, "cortex-m4", name=name)
    assert report.measurement.mismatches == 0
