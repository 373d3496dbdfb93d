"""Paths that are no files, names that are too long, and numbers that are none: one line, at once, nothing written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bevel.calib.errors import UserError
from bevel.tools.command import cli, optimize
from bevel.tools.run import manifest
from bevel.tools.run.single_file import write_file


def refused(arguments: list[str], capfd: pytest.CaptureFixture[str], main: object = optimize.main) -> str:
    assert main(arguments) == 2  # type: ignore[operator]
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
    return printed.err


def command(folder: Path, *options: str) -> list[str]:
    files = [str(folder / "model.onnx"), "--calib", str(folder / "calib.npz"), "-o", str(folder.parent / "out")]
    return [*files, "--target", "host", "--device", "none", *options]


NUMBERS = [
    *(("--seed", text) for text in ("-1", "1.5", "nan", "9" * 5000)),
    *(("--min-sqnr", text) for text in ("nan", "inf", "-inf", "-5", "ten")),
    *((option, text) for option in ("--min-accuracy", "--max-drop") for text in ("nan", "inf", "-1", "101")),
    *((option, text) for option in ("--vectors", "--eval-samples", "--tune", "--batch") for text in ("0", "-1", "nan")),
    *((option, "1" + "0" * 30) for option in ("--vectors", "--eval-samples", "--tune", "--batch")),
    *((option, text) for option in ("--flash", "--ram", "--max-ram", "--max-flash") for text in ("-1", "nan", "")),
    *((option, "9" * 5000) for option in ("--flash", "--ram", "--max-ram", "--max-flash", "--max-latency")),
    *(("--max-latency", text) for text in ("nan", "infs", "-1ms", "0ms", "9" * 400 + "s")),
    *(("--dim", f"height={text}") for text in ("-1", "nan", "²", "9" * 30, "9" * 5000)),
    *(("--constant", f"x={text}") for text in ("nan", "1e999", "9" * 5000, "[" * 5000)),
    *(("--switchable", text) for text in ("8,nan", "8,-4", "8,²", "8," + "9" * 5000)),
    ("--name", "a" * 101),
]


@pytest.mark.parametrize(("option", "text"), NUMBERS, ids=[f"{name} {text[:8]}" for name, text in NUMBERS])
def test_numbers_out_of_range_are_refused(
    option: str, text: str, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(command(inputs, option, text), capfd)
    assert option in line or text in line


def fifo(path: Path) -> None:
    os.mkfifo(path)


def plugged(path: Path) -> None:
    place = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(place)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(("make", "kind"), [(fifo, "pipe"), (plugged, "socket"), (zeros, "device"), (Path.mkdir, "")])
@pytest.mark.parametrize("role", ["model", "calib.npz", "eval.npz", "formats.toml", "samples"])
def test_an_input_that_is_no_file_is_named_and_not_waited_for(
    role: str, make: object, kind: str, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = inputs / role
    if role == "samples":
        place.mkdir()
        place = place / "one.npy"
    place.unlink(missing_ok=True)
    make(place)  # type: ignore[operator]
    options = {
        "model": [],
        "calib.npz": [],
        "eval.npz": ["--eval", str(place)],
        "formats.toml": ["--format-file", str(place)],
        "samples": ["--eval", str(place.parent)],
    }[role]
    arguments = command(inputs, *options)
    if role == "model":
        arguments[0] = str(place)
    line = refused(arguments, capfd)
    assert str(place) in line and kind in line


def test_a_pipe_in_a_bundle_is_not_waited_for(tmp_path: Path) -> None:
    fifo(tmp_path / "weights.bin")
    assert manifest.hashes(tmp_path) == {"weights.bin": "a pipe"}
    fifo(tmp_path / manifest.NAME)
    with pytest.raises(UserError, match="a pipe"):
        manifest.read(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert manifest.hashes(tmp_path)["gone"] == "a link to nothing"


@pytest.mark.parametrize("length", [256, 300, 5000])
@pytest.mark.parametrize("option", ["-o", "--eval", "--format-file", "--calib"])
def test_a_path_that_is_too_long_is_one_line(
    option: str, length: int, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "too long" in refused(command(inputs, option, str(inputs.parent / ("n" * length))), capfd)


@pytest.mark.parametrize("deep", [1, 30])
def test_a_model_s_path_that_is_too_long_is_one_line(
    deep: int, inputs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = command(inputs)
    arguments[0] = "/".join(["n" * 200] * deep) + "n" * 100
    assert "too long" in refused(arguments, capfd)


@pytest.mark.parametrize("name", ["inspect", "measure", "export-qonnx"])
def test_the_other_commands_refuse_such_paths_too(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ["-o", str(tmp_path / "q.onnx")] if name == "export-qonnx" else []
    for place in ("n" * 300, str(tmp_path / "none"), "/dev/null"):
        refused([name, place, *more], capfd, cli.main)


def test_links_in_a_circle_are_one_line(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (inputs / "circle").symlink_to(inputs / "circle")
    assert "circle" in refused(command(inputs, "-o", str(inputs / "circle" / "out")), capfd)
    arguments = command(inputs)
    arguments[0] = str(inputs / "circle")
    assert "circle" in refused(arguments, capfd)


def test_a_file_appears_whole_or_is_refused(tmp_path: Path) -> None:
    write_file(tmp_path / "one", b"first")
    write_file(tmp_path / "one", b"second")
    assert (tmp_path / "one").read_bytes() == b"second"
    fifo(tmp_path / "pipe")
    for place, reason in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), (tmp_path / "no" / "x", "no folder")):
        with pytest.raises(UserError, match=reason):
            write_file(place, b"")
    assert {path.name for path in tmp_path.iterdir()} == {"one", "pipe"}
