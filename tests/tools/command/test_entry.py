"""Every command ends in 0, or in one line and 2, or, where the bug is ours, in one line and 1."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import click
import pytest

from bevel.calib.errors import UserError
from bevel.tools.command.entry import run


def command(body: Callable[[], None]) -> click.Command:
    return click.Command("try", callback=body)


def failing(error: BaseException) -> click.Command:
    def body() -> None:
        raise error

    return command(body)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("m.onnx: no such\n file"), "error: m.onnx: no such file\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out/x"), "error: No space left on device: out/x\n"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "error: Permission denied: out\n"),
        (KeyboardInterrupt(), "error: interrupted; nothing was written\n"),
    ],
)
def test_mistakes_end_in_one_line_and_two(error: BaseException, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(error), []) == 2
    assert capsys.readouterr().err == line


def test_wrong_usage_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(lambda: None), ["--nonsense"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def recursing() -> None:
    recursing()


def too_large() -> None:
    raise MemoryError("Unable to allocate 3 TiB")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("error", [ValueError("ours\nand more"), OSError(errno.EIO, "broken disk"), AssertionError()])
def test_a_bug_of_ours_is_one_line_that_names_a_file_with_the_traceback(
    error: Exception, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), []) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"error: this is a bug of Bevel: {type(error).__name__}") and line.count("\n") == 1
    (file,) = temporary.iterdir()
    assert str(file) in line and "raise error" in file.read_text()


def test_a_recursion_without_end_is_one_line_too(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(recursing), []) == 1
    assert "RecursionError" in capsys.readouterr().err and "recursing" in next(temporary.iterdir()).read_text()


def test_a_traceback_that_cannot_be_written_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert run(failing(ValueError("ours")), []) == 1
    assert "could not be written" in capsys.readouterr().err


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even that")


@pytest.mark.parametrize("error", [Unspeakable(), ValueError("long " * 10_000), ValueError("\udcff")])
def test_any_exception_can_be_told_in_one_line(
    error: Exception, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), []) == 1
    line = capsys.readouterr().err
    assert type(error).__name__ in line and len(line) < 1000 and line.count("\n") == 1


def test_too_little_memory_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command(too_large), []) == 2
    assert "too little" in capsys.readouterr().err


def test_a_bug_behind_an_interruption_that_was_lost_is_an_interruption() -> None:
    assert_interrupted(
        """
        def body():
            with suppress(KeyboardInterrupt):  # as a C extension does
                signal.raise_signal(signal.SIGTERM)
            raise ImportError("a library that was not imported whole")
        """
    )


def test_termination_counts_as_interruption() -> None:
    assert_interrupted(
        """
        def body():
            signal.raise_signal(signal.SIGTERM)
        """
    )


def assert_interrupted(body: str) -> None:
    """In a process of its own: this one would not outlive a signal that is not handled."""
    program = f"""
import signal, sys
from contextlib import suppress
import click
from bevel.tools.command.entry import run
{dedent(body)}
before = signal.getsignal(signal.SIGTERM)
code = run(click.Command("try", callback=body), [])
assert signal.getsignal(signal.SIGTERM) == before
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: interrupted; nothing was written\n")


def test_a_command_that_ends_well_is_zero() -> None:
    assert run(command(lambda: None), []) == 0


@pytest.mark.parametrize("name", ["--help", "targets"])
def test_a_reader_that_has_read_enough_is_no_error(name: str) -> None:
    program = "import sys; from bevel.tools.command.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_one_line(unbuffered: str) -> None:
    program = "import sys; from bevel.tools.command.cli import main; sys.exit(main())"
    command, given = [sys.executable, "-c", program, "--help"], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=given)
    assert done.returncode == 2 and done.stderr == "error: No space left on device\n"
