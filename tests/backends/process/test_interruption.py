"""A signal is raised where Python stands, or noted where that would break something; it is never lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bevel.backends.process import interruption


@pytest.fixture(autouse=True)
def unignored() -> Iterator[None]:
    """As in a terminal, even where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with interruption.handled(last=False):
        yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def test_a_signal_is_raised_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_one_that_was_swallowed_is_raised_at_the_next_check() -> None:
    with suppress(KeyboardInterrupt):
        interrupt()
    with pytest.raises(KeyboardInterrupt):
        interruption.check()


def test_what_is_held_is_completed_first() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interruption.held():
        with interruption.held():
            interrupt()
        done.append("all")
    assert done == ["all"]


def test_a_second_signal_does_not_break_the_tidying_after_the_first() -> None:
    tidy = []
    with pytest.raises(KeyboardInterrupt, match="first"):
        try:
            with suppress(KeyboardInterrupt):
                interrupt()
            raise KeyboardInterrupt("first")
        finally:
            with interruption.held():
                interrupt()
                tidy.append("tidy")
    assert tidy == ["tidy"]


def test_a_signal_that_the_starter_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interruption.handled(last=False):
        interrupt()
        interruption.check()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, before)


def test_work_in_another_thread_is_stopped() -> None:
    stopped = []

    def work() -> None:
        time.sleep(0.05)  # until the other thread waits
        interrupt()
        while not stopped:
            time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        interruption.beside(work, lambda: stopped.append(True))
    assert stopped


def test_work_in_another_thread_answers_or_raises() -> None:
    assert interruption.beside(lambda: 7, lambda: None) == 7
    with pytest.raises(ZeroDivisionError):
        interruption.beside(lambda: 1 // 0, lambda: None)


def test_in_an_import_the_process_ends_with_one_line() -> None:
    program = (
        "import os, signal; from bevel.backends.process.interruption import handled, nothing_at_stake\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with handled(last=True), nothing_at_stake(): os.kill(os.getpid(), signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: interrupted; nothing was written\n")
