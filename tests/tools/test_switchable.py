"""One product, several widths: each equals its own integer model bit for bit, on the device and through the header."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from bevel.tools.command import optimize
from bevel.tools.command.entry import run
from javascript import WASM, answer


def optimized(inputs: Path, target: str, *more: str) -> tuple[int, Path]:
    output = inputs / f"out_{target}"
    command = [str(inputs / "model.onnx"), "--target", target, "--calib", str(inputs / "calib.npz"), "-o", str(output)]
    return run(optimize.command, [*command, "--vectors", "3", "--switchable", "8,6,4,2", *more]), output


@pytest.mark.long
@pytest.mark.parametrize("target", ["host", "cortex-m7", "cortex-m0plus", WASM])
def test_every_width_equals_its_own_integer_model(inputs, target) -> None:
    code, output = optimized(inputs, target, "--eval", str(inputs / "calib.npz"))
    assert code == 0
    report = json.loads((output / "report.json").read_text())
    assert report["measurement"]["mismatches"] == 0
    assert [(one["bits"], one["mismatches"]) for one in report["widths"]] == [(6, 0), (4, 0), (2, 0)]
    assert all(one["top1"] is not None and one["sqnr_db"] is not None for one in report["widths"])


@pytest.mark.long
def test_the_width_can_be_changed_between_two_runs_of_one_arena(inputs) -> None:
    code, output = optimized(inputs, "host", "--inputs", "quantized", "--outputs", "quantized")
    assert code == 0
    assert "void model_set_bits(int bits);" in (output / "model.h").read_text()
    library = ctypes.CDLL(str(output / "libmodel.so"))
    manifest = json.loads((output / "manifest.json").read_text())["artifact"]
    arena = np.zeros(manifest["arena_bytes"] + 64, np.uint8)
    base = -arena.ctypes.data % 64
    (source,), (result,) = manifest["inputs"], manifest["outputs"]
    x = np.random.default_rng(5).integers(-128, 128, source["port"]["shape"], np.int8)
    for asked, bits in ((4, 4), (2, 2), (5, 2), (8, 8), (6, 6)):  # nobody stored 5 bits: they change nothing
        library.model_set_bits(asked)
        arena[base + source["offset"] :][: x.size] = x.view(np.uint8).ravel()
        library.model_run(ctypes.c_void_p(arena.ctypes.data + base))
        file = "integer.onnx" if bits == 8 else f"integer_{bits}bit.onnx"
        expected = ort.InferenceSession(output / file).run(None, {source["port"]["name"]: x})[0]
        found = arena[base + result["offset"] :][: expected.size].view(np.int8)
        np.testing.assert_array_equal(found, expected.ravel())


def test_javascript_changes_the_width(inputs, tmp_path) -> None:
    code, output = optimized(inputs, "wasm32")
    assert code == 0
    source, result = (
        json.loads((output / "manifest.json").read_text())["artifact"][side][0] for side in ("inputs", "outputs")
    )
    x = np.random.default_rng(5).standard_normal((1, *source["port"]["shape"][1:])).astype(np.float32)
    body = """
const [[into], [out]] = [Object.values(model.inputs), Object.values(model.outputs)];
answer([4, 2, 8].map((bits) => {
  model.setBits(bits);
  into.set(given);
  model.run();
  return Array.from(out);
}));
"""
    rows = answer(output, "model", x.ravel().tolist(), body, tmp_path)
    for bits, row in zip((4, 2, 8), rows, strict=True):
        file = "integer.onnx" if bits == 8 else f"integer_{bits}bit.onnx"
        expected = ort.InferenceSession(output / file).run([result["port"]["name"]], {source["port"]["name"]: x})[0]
        np.testing.assert_array_equal(np.array(row, np.float32), expected.ravel())


@pytest.mark.parametrize("text", ["8", "6,4", "8,1", "8,9", "8,x", "8,4,4"])
def test_other_widths_are_refused(inputs, capsys, text) -> None:
    code, _ = optimized(inputs, "host", "--switchable", text)
    assert code == 2
    assert f"--switchable {text}: write 8 and other widths" in capsys.readouterr().err


def test_other_weights_are_refused(inputs, capsys) -> None:
    code, _ = optimized(inputs, "host", "--weights", "int4")
    assert code == 2
    assert "--switchable rounds int8 weights" in capsys.readouterr().err
