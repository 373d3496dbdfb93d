"""`--tune`: the second run measures nothing, the result is the same, and a bundle remembers what was chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevel.backends import search
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.target import load
from bevel.tools import cli

if why := Unicorn(load("cortex-m4")).missing():
    pytest.skip(why, allow_module_level=True)


def optimize(inputs: Path, out: Path, *more: str, target: str = "cortex-m4") -> int:
    model, calib = str(inputs / "model.onnx"), str(inputs / "calib.npz")
    return cli.main(["optimize", model, "--target", target, "--calib", calib, "-o", str(out), *more])


def test_the_second_run_takes_what_the_first_measured(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = ("--tune", "3", "--tune-database", str(tmp_path / "tuned.json"))
    assert optimize(inputs, tmp_path / "first", *database) == 0
    monkeypatch.setattr(search, "measure", None)  # not called again
    assert optimize(inputs, tmp_path / "second", *database) == 0
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second"))
    assert first["measurement"] == second["measurement"] and first["files"] == second["files"]
    assert first["measurement"]["mismatches"] == 0


def test_a_tuned_bundle_can_be_measured_with_other_inputs(inputs: Path, tmp_path: Path) -> None:
    assert optimize(inputs, tmp_path / "out", "--tune", "3", "--tune-database", str(tmp_path / "tuned.json")) == 0
    kernels = json.loads((tmp_path / "out" / "manifest.json").read_text())["settings"]["kernels"]
    assert kernels, "no candidate was better: this test compares nothing"
    assert cli.main(["measure", str(tmp_path / "out"), "--data", str(inputs / "calib.npz")]) == 0


def test_what_tuning_chose_is_noted(inputs: Path, tmp_path: Path) -> None:
    assert optimize(inputs, tmp_path / "out", "--tune", "3", "--tune-database", str(tmp_path / "tuned.json")) == 0
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    notes = [note for node in told["nodes"] for note in node["notes"]]
    assert any(note.startswith("measured fastest: ") for note in notes)


@pytest.mark.parametrize(
    ("target", "more", "line"),
    [
        ("host", (), "--tune chooses C kernels"),
        ("cortex-m4", ("--device", "none"), "it needs a simulator"),
    ],
)
def test_tuning_without_a_count_is_refused(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, more: tuple[str, ...], line: str
) -> None:
    assert optimize(inputs, tmp_path / "out", "--tune", "2", *more, target=target) == 2
    assert line in capsys.readouterr().err and not (tmp_path / "out").exists()
