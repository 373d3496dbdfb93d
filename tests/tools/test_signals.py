"""A signal meets a process: one line, nothing half-written, nothing left; what a kill leaves the next run removes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = "import sys; from bevel.tools.command.start import optimize; sys.exit(optimize())"


def started(inputs: Path) -> subprocess.Popen[str]:
    """`optimize`, as far as its first file."""
    base = inputs.parent
    (base / "temporary").mkdir(exist_ok=True)
    files = [str(inputs / "model.onnx"), "--calib", str(inputs / "calib.npz"), "-o", str(base / "out")]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *files, "--target", "host"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(base / "temporary")},
    )
    while not list(base.glob(".out.*.partial/*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def left(inputs: Path) -> list[str]:
    """Whatever is not the user's or a finished output."""
    return [path.name for path in (*inputs.parent.glob(".*"), *(inputs.parent / "temporary").iterdir())]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interruption_is_one_line_and_leaves_nothing(number: signal.Signals, inputs: Path) -> None:
    process = started(inputs)
    process.send_signal(number)
    out, said = process.communicate()
    assert (process.returncode, out, said) == (2, "", "error: interrupted; nothing was written\n")
    assert left(inputs) == [] and not (inputs.parent / "out").exists()


def test_what_a_killed_run_left_the_next_removes(inputs: Path) -> None:
    process = started(inputs)
    process.kill()
    process.communicate()
    assert len(left(inputs)) == 2  # one folder beside the output, one among the temporary files
    process = started(inputs)
    assert len(left(inputs)) == 2  # its own
    process.communicate()
    assert process.returncode == 0 and left(inputs) == [] and (inputs.parent / "out" / "manifest.json").exists()


def test_an_ignored_interruption_stays_ignored(inputs: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and shells do for jobs in the background
    try:
        process = started(inputs)
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0 and (inputs.parent / "out" / "manifest.json").exists()
