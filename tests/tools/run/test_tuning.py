"""`--tune`: the second run measures nothing, the result is the same, and a bundle remembers what was chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bevel.backends import search
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.select import tuned
from bevel.backends.target import load
from bevel.tools.command import cli

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


@pytest.fixture
def tuned_bundle(inputs: Path, tmp_path: Path) -> Path:
    """A bundle whose kernels all have flags of their own, because the database says that this was best."""
    path, database = tmp_path / "tuned.json", ("--tune", "2", "--tune-database", str(tmp_path / "tuned.json"))
    assert optimize(inputs, tmp_path / "first", *database) == 0
    found = {
        core: {
            compiler: {kernel: flagged(entry) for kernel, entry in table.items()} for compiler, table in tables.items()
        }
        for core, tables in tuned.read(path).items()
    }
    tuned.write(path, found)
    assert optimize(inputs, tmp_path / "out", *database) == 0
    return tmp_path / "out"


def flagged(entry: tuned.Found) -> tuned.Found:
    return replace(entry, selection=replace(entry.selection, flags=("-O2",)))


def test_a_tuned_bundle_can_be_measured_with_other_inputs(inputs: Path, tuned_bundle: Path) -> None:
    kernels = json.loads((tuned_bundle / "manifest.json").read_text())["settings"]["kernels"]
    assert kernels and all(chosen["flags"] == ["-O2"] for chosen in kernels.values())
    assert cli.main(["measure", str(tuned_bundle), "--data", str(inputs / "calib.npz")]) == 0


def test_what_tuning_chose_is_noted(tuned_bundle: Path) -> None:
    told = json.loads((tuned_bundle / "report.json").read_text())
    notes = [note["text"] for node in told["nodes"] for note in node["notes"]]
    assert any(note.startswith("measured fastest: ") and "compiled with -O2" in note for note in notes)


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
