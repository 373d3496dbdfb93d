"""`bevel bench mcu` from the command line, on a network small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bevel import models
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.target import load
from bevel.calib.errors import UserError
from bevel.tools.bench.subjects import subjects
from bevel.tools.command import cli

if why := Unicorn(load("cortex-m4")).missing():
    pytest.skip(why, allow_module_level=True)

UNSUPPORTED = """
<ir_version: 8, opset_import: ["" : 17]>
odd (float[1,4] x) => (float[1,4] y) { y = Hardmax (x) }
"""


@pytest.fixture
def folder(tmp_path: Path, inputs: Path) -> Path:
    """Two networks: one that can be built, and one that no microcontroller kernel exists for."""
    place = tmp_path / "networks"
    place.mkdir()
    inputs.rename(place / "tiny")
    odd = place / "odd"
    odd.mkdir()
    onnx.save(onnx.parser.parse_model(UNSUPPORTED), odd / "model.onnx")
    np.savez(odd / "calib.npz", x=np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
    (place / "no network").mkdir()
    return place


def run(folder: Path, output: Path, *more: str) -> tuple[int, Any]:
    code = cli.main(["bench", "mcu", "--models", str(folder), "--cores", "cortex-m4", "-o", str(output), *more])
    return code, json.loads(output.read_text()) if output.exists() else None


def test_two_runs_write_the_same_numbers_and_what_cannot_be_built_says_why(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps({"tiny": {"cortex-m4": {"instructions": 1_000_000}}}))
    (first, told), (second, again) = (
        run(folder, tmp_path / name, "--reference", str(theirs)) for name in ("first.json", "second.json")
    )
    assert (first, second) == (0, 0) and told == again
    (cell,) = told["cells"]
    assert (cell["model"], cell["core"], cell["mismatches"]) == ("tiny", "cortex-m4", 0)
    assert told["ratios"][0]["instructions"] == cell["instructions"] / 1_000_000
    (refused,) = told["refused"]
    assert refused["model"] == "odd" and "Hardmax" in refused["reason"]
    printed = capsys.readouterr().out
    assert f"{cell['instructions']:,}" in printed and "Hardmax" in printed and "geometric mean" in printed


def test_only_the_network_asked_for_is_run(folder: Path) -> None:
    assert [one.name for one in subjects(folder, ["tiny"])] == ["tiny"]
    with pytest.raises(UserError, match="no network 'big'; there are: odd, tiny"):
        subjects(folder, ["big"])


def test_without_a_folder_the_reference_networks_are_run() -> None:
    assert [one.name for one in subjects(None)] == list(models.names())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--models", "nowhere"], "nowhere holds no network"),
        (["--cores", "cortex-m4,m4"], "no target 'm4'"),
    ],
)
def test_mistakes_end_in_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "mcu", *arguments]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1
