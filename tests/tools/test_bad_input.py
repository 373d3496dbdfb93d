"""Each mistake of a user ends in one line and exit code 2, writes nothing, and changes none of their files."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from bevel.tools.command.optimize import main

Folder = Path
Change = Callable[[Folder], object]


@dataclass(frozen=True)
class Case:
    """`change` spoils the user's files; `options` are added to a command that would otherwise work."""

    name: str
    says: str  # a regular expression that the line matches
    change: Change = lambda folder: None
    options: list[str] = field(default_factory=list)


def write_model(folder: Folder, text: str) -> None:
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, folder / "model.onnx")


def not_onnx(folder: Folder) -> None:
    (folder / "model.onnx").write_bytes(b"PK\x03\x04 this is a zip")


def truncated(folder: Folder) -> None:
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])


def external(folder: Folder, location: str) -> None:
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    onnx.save(model, folder / "model.onnx")


def external_elsewhere(folder: Folder) -> None:
    (folder.parent / "secret.bin").write_bytes(bytes(4 * 2 * 9 * 4))
    external(folder, "../secret.bin")


def calib(**arrays: Any) -> Change:
    return lambda folder: np.savez(folder / "calib.npz", **arrays)


def image(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def with_value(value: float) -> np.ndarray:
    data = image(4, 2, 6, 6)
    data[2, 1, 0, 0] = value
    return data


def unknown_operator(folder: Folder) -> None:
    write_model(
        folder,
        '<ir_version: 8, opset_import: ["" : 17, "vendor" : 1]> g (float[N,2,6,6] image) => (float[N,2,6,6] y) '
        "{ y = vendor.Blur (image) }",
    )


def dynamic_operator(folder: Folder) -> None:
    write_model(
        folder,
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2,6,6] image) => (int64[4,M] y) { y = NonZero (image) }',
    )


def dynamic_dimension(folder: Folder) -> None:
    write_model(
        folder,
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2,height,6] image) => (float[N,2,height,6] y) '
        "{ y = Relu (image) }",
    )


def network(body: str, inputs: str = "float[N,2,6,6] image", outputs: str = "float[A,B,C,D] y") -> Change:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({outputs}) {{ {body} }}'
    return lambda folder: write_model(folder, text)


empty_dimension = network("y = Relu (image)", "float[N,2,0,6] image")
dynamic_quantization = network("q, s, z = DynamicQuantizeLinear (image) y = DequantizeLinear (q, s, z)")
pool_indices = network(
    "y, places = MaxPool <kernel_shape = [2,2]> (image)", outputs="float[A,B,C,D] y, int64[E,F,G,H] places"
)
chosen_branch = network(
    "sum = ReduceSum <keepdims = 0> (image) zero = Constant <value_float = 0.0> () c = Less (sum, zero)"
    "y = If (c) <then_branch = t () => (float[A,B,C,D] p) { p = Neg (image) },"
    "else_branch = e () => (float[A,B,C,D] q) { q = Exp (image) }>"
)


def float_only_operator(folder: Folder) -> None:
    write_model(
        folder,
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,2,6,6] image) => (float[N,2,6,6] y) '
        "<int64 axis = {3}> { y = CumSum (image, axis) }",
    )


CASES = [
    Case("weights in no known format", "no format 'int1'; known are.*weights can be", options=["--weights", "int1"]),
    Case("activations without steps", "format e5m2: its values.*can be int2 to", options=["--activations", "e5m2"]),
    Case("no file", "model.onnx: no such file", lambda folder: (folder / "model.onnx").unlink()),
    Case("not ONNX", "model.onnx: not an ONNX file", not_onnx),
    Case("truncated", "model.onnx: cut short or damaged", truncated),
    Case("external data missing", r"missing \(weights.bin\)", lambda folder: external(folder, "weights.bin")),
    Case("external data outside", "outside the model's folder", external_elsewhere),
    Case("wrong input name", "model's inputs are 'image'", calib(picture=image(4, 2, 6, 6))),
    Case("wrong rank", "takes", calib(image=image(4, 6, 6))),
    Case("wrong shape", "takes", calib(image=image(4, 3, 6, 6))),
    Case("wrong type", "arrays of numbers", calib(image=np.full((4, 2, 6, 6), "a"))),
    Case("NaN", "nan.*finite", calib(image=with_value(float("nan")))),
    Case("infinity", "inf.*finite", calib(image=with_value(float("inf")))),
    Case("empty data", "0 samples", calib(image=image(0, 2, 6, 6))),
    Case("data missing", "does not exist", lambda folder: (folder / "calib.npz").unlink()),
    Case("data is no archive", "calib.npz", lambda folder: (folder / "calib.npz").write_bytes(b"text")),
    Case("unknown target", "no target 'm4'; known targets: .*cortex-m4", options=["--target", "m4"]),
    Case("unknown device", "no device 'jtag' for cortex-m4", options=["--device", "jtag"]),
    Case("unknown operator", "Blur", unknown_operator),
    Case("dynamic operator", "(?i)y|NonZero", dynamic_operator),
    Case("dynamic dimension", "height.*--dim height=N", dynamic_dimension, ["--calib", "random"]),
    Case("dynamic dimension that the samples tell", "flash", dynamic_dimension, ["--flash", "256"]),
    Case("dimension of no elements", "dimension 2 is 0", empty_dimension),
    Case("quantized anew for each input", "DynamicQuantizeLinear.*give the float model", dynamic_quantization),
    Case("a branch that the input chooses", r"If\): the input's values decide", chosen_branch),
    Case("indices of a MaxPool", r"\(MaxPool\) gives its indices as places", pool_indices),
    Case("operator no microcontroller runs", "CumSum", float_only_operator),
    Case("too large for the flash", r"flash.*(bytes|more|over)", options=["--flash", "256"]),
    Case("too large for the RAM", r"(?i)ram.*(bytes|more|over)", options=["--ram", "64"]),
    Case("memory size", "not a memory size", options=["--flash", "lots"]),
    Case("dimension", "--dim", options=["--dim", "height"]),
    Case("no such dimension", "height", options=["--dim", "height=3"]),
    Case("C name", "C identifier", options=["--name", "9 lives"]),
    Case("unknown option", "--fast", options=["--fast"]),
    Case("output under a file", "not a folder", options=["-o", "{mine}/model.onnx/out"]),
    Case("output is the folder of the inputs", "holds the input", options=["-o", "{mine}"]),
    Case("output cannot be written", "cannot write in /proc", options=["-o", "/proc/out"]),
]


def command(folder: Folder, options: list[str]) -> list[str]:
    given = [option.replace("{mine}", str(folder)) for option in options]
    files = [str(folder / "model.onnx"), "--calib", str(folder / "calib.npz"), "-o", str(folder.parent / "out")]
    return [*files, "--target", "cortex-m4", "--device", "none", *given]


def contents(folder: Folder) -> dict[str, str]:
    """Everything below a folder, hidden files included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def refused(folder: Folder, options: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The line that the command prints; asserts that it prints no other and leaves everything as it was."""
    before = contents(folder.parent)
    assert main(command(folder, options)) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and len(printed.err.splitlines()) == 1
    assert contents(folder.parent) == before
    return printed.err


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_line_and_nothing_written(
    case: Case, inputs: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    case.change(inputs)
    line = refused(inputs, case.options, capfd)
    assert re.search(case.says, line), line


def test_a_float_model_without_samples_says_what_to_give(inputs: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [text for text in command(inputs, []) if text not in ("--calib", str(inputs / "calib.npz"))]
    assert main(arguments) == 2
    assert "--calib random" in capfd.readouterr().err


def test_too_small_a_flash_says_by_how_much_and_names_tensors(
    inputs: Folder, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "summed" in refused(inputs, ["--flash", "256"], capfd)


def test_a_missing_tool_is_named_with_what_it_enables(
    inputs: Folder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(inputs))
    line = refused(inputs, ["--target", "cortex-m55", "--device", "qemu"], capfd)
    assert "qemu-system-arm" in line and "--device none" in line


def test_a_disk_without_room_is_refused_at_once(
    inputs: Folder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "1000 bytes left" in refused(inputs, [], capfd)


def test_a_disk_that_fills_up_leaves_nothing(
    inputs: Folder, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "integer.onnx")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "the disk is full" in refused(inputs, [], capfd)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "called", ["tools.compile.observe", "passes.quantize.insert_qdq.insert_qdq", "tools.compile.build"]
)
def test_an_interruption_leaves_nothing(
    inputs: Folder, called: str, number: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"bevel.{called}", lambda *given, **named: signal.raise_signal(number))
    assert "interrupted" in refused(inputs, [], capfd)


def test_an_output_folder_with_the_user_s_files_stays(inputs: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    out = inputs.parent / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "not empty" in refused(inputs, [], capfd)
