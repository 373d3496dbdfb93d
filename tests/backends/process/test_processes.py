"""No program that Bevel starts outlives its call, nor does anything that the program started."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from bevel.backends.process import processes

FAMILY = "sleep 60 & echo $! > child; sleep 60"  # a shell and two programs of its own


def test_what_a_program_prints_comes_back_with_its_code(tmp_path: Path) -> None:
    done = processes.run(("sh", "-c", "pwd; echo no >&2; exit 3"), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{tmp_path}\n", "no\n")


def test_a_program_reads_nothing() -> None:
    assert processes.run(("cat",)).stdout == ""


def test_a_program_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(("sh", "-c", FAMILY), tmp_path, timeout=0.5)
    assert_gone(int((tmp_path / "child").read_text()))


def test_an_error_in_the_body_ends_program_and_children(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), processes.started(("sh", "-c", FAMILY), tmp_path) as process:
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert process.returncode is not None
    assert_gone(int((tmp_path / "child").read_text()))


def assert_gone(process: int) -> None:
    """Not there, or a zombie that nobody has asked for yet."""
    for _ in range(100):
        try:
            os.kill(process, 0)
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"{process} lives on")
