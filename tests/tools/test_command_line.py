"""What a new user types first: no command, no target of that name, a shell that completes, less output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bevel.tools.command import cli, optimize


def ran(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as the shell starts it."""
    name, *others = arguments
    program = f"import sys; from bevel.tools.command.start import {name}; sys.argv[0] = '{name}'; sys.exit({name}())"
    given = [sys.executable, "-c", program, *others]
    return subprocess.run(given, capture_output=True, text=True, env=os.environ | variables)


@pytest.mark.parametrize("arguments", [["bevel"], ["bevel", "bench"]])
def test_a_group_without_a_command_prints_its_help(arguments: list[str]) -> None:
    done = ran(*arguments)
    assert (done.stdout + done.stderr).startswith("Usage: ") and "Commands:\n" in done.stdout + done.stderr
    assert done.returncode in (0, 2)  # click before 8.2, and since


def test_a_target_that_does_not_exist_is_refused_before_anything_heavy_is_loaded() -> None:
    program = (
        "import sys; from bevel.tools.command.optimize import main\n"
        "code = main(['no.onnx', '--target', 'm4', '-o', 'out'])\n"
        "assert code == 2 and not {'numpy', 'onnx', 'tvm', 'rich'} & set(sys.modules), sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.startswith("error: no target 'm4'; known targets: ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("name", ["optimize", "bevel"])
def test_shells_get_a_script(name: str, shell: str) -> None:
    variable = f"_{name.upper()}_COMPLETE"
    done = ran(name, **{variable: f"{shell}_source"})
    assert variable in done.stdout and done.returncode == 0


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("optimize m.onnx --target cortex-m3", "plain,cortex-m33\n"),
        ("optimize --outputs-a", "plain,--outputs-at\n"),
        ("optimize m.onnx --calib ran", "plain,random\n"),
        ("bevel insp", "plain,inspect\n"),
        ("bevel bench m", "plain,mcu\n"),
    ],
)
def test_words_are_completed(words: str, found: str) -> None:
    name, count = words.split()[0], len(words.split())
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(count - 1), f"_{name.upper()}_COMPLETE": "bash_complete"}
    assert ran(name, **asked).stdout == found


@pytest.mark.parametrize("main", [optimize.main, cli.main])
def test_each_command_says_its_version(main: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0  # type: ignore[operator]
    assert capsys.readouterr().out.startswith("bevel ")


def command(folder: Path, *options: str) -> list[str]:
    files = [str(folder / "model.onnx"), "--calib", str(folder / "calib.npz"), "-o", str(folder.parent / "out")]
    return [*files, "--target", "cortex-m4", "--device", "none", *options]


def test_quiet_prints_nothing_of_a_run_that_went_well(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert optimize.main(command(inputs, "--quiet")) == 0
    assert capfd.readouterr() == ("", "")
    assert (inputs.parent / "out" / "report.json").exists()


def test_quiet_keeps_warnings(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert optimize.main(command(inputs, "-q", "--calib", "random")) == 0
    printed = capfd.readouterr()
    assert printed.out == "" and "guesses" in printed.err


def test_only_the_first_calibration_samples_are_read(inputs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = np.ones((1000, 2, 6, 6), np.float32)
    images[3:] = np.nan  # whoever reads these is told so
    np.savez(inputs / "calib.npz", image=images)
    assert optimize.main(command(inputs, "--json", "--calib-samples", "3")) == 0
    assert json.loads(capfd.readouterr().out)["target"] == "cortex-m4"
    assert optimize.main(command(inputs, "--calib-samples", "4")) == 2
    assert "nan" in capfd.readouterr().err


def test_columns_have_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["targets"]) == 0
    assert "what it is" in capsys.readouterr().out
