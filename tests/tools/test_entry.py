"""Every command ends in 0, or in one line and 2, or in a traceback."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

import click
import pytest

from bevel.calib.errors import UserError
from bevel.tools.entry import run


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


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.EIO, "broken disk")])
def test_our_own_bugs_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run(failing(error), [])


def test_termination_counts_as_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run(command(lambda: os.kill(os.getpid(), signal.SIGTERM)), []) == 2
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_that_ends_well_is_zero() -> None:
    assert run(command(lambda: None), []) == 0
