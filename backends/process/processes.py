"""Programs that Bevel starts. None outlives the call, and neither does what it started: a compiler's own compiler."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bevel.backends.process.interruption import held


@contextmanager
def started(
    command: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    errors: IO[str] | int = subprocess.PIPE,
    given: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[str]]:
    """A program that reads nothing, unless `given` is a pipe, in a process group of its own, so that a terminal's
    Ctrl-C reaches it through us.

    Where the body does not wait for its end, the group is killed.
    """
    process: subprocess.Popen[str] | None = None
    try:
        with held():  # a child must not be started without our knowing it
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                process_group=0,
            )
        yield process
    finally:
        if process is not None:
            with held():
                _end(process)


def run(
    command: Sequence[str],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """What a program printed, and how it ended. Raises subprocess.TimeoutExpired after `timeout` seconds."""
    with started(command, folder, environment) as process:
        out, err = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with suppress(OSError):  # what it does not read any more
                stream.close()
