"""Ctrl-C, termination and a closed terminal: noted once and for all, and raised where it is safe.

Python raises KeyboardInterrupt wherever the main thread happens to be. A callback from C, a destructor or the import of
a C extension may swallow it, and the run would go on as if nothing had happened. So the handler also takes a note,
which `check` reads at the next safe point; and inside of `held` a signal is only noted.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTHING_WRITTEN = "interrupted; nothing was written"
EXIT_CODE = 2
STOP_AGAIN_S = 0.05
LOOK_S = 0.2

Result = TypeVar("Result")


@dataclass
class _Noted:
    """Of this process: signals know no other scope."""

    received: bool = False
    held: int = 0
    at_once: bool = False
    line: str = NOTHING_WRITTEN


_noted = _Noted()


def received() -> bool:
    return _noted.received


def line() -> str:
    """What an interruption says to the user."""
    return _noted.line


def outlived(result: str) -> None:
    """From now on an interruption says that `result` is there, and whole."""
    _noted.line = f"interrupted; {result} was complete"


@contextmanager
def handled(last: bool) -> Iterator[None]:
    """Handle the signals in the body, but those that whoever started us wants ignored (nohup, a background job).

    Where the body is the `last` that the process does, Ctrl-C behind it is ignored: it would only cause a traceback.
    """
    global _noted
    before, _noted = _noted, _Noted()
    previous = {}
    if threading.current_thread() is threading.main_thread():
        wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        previous = {number: signal.signal(number, _handle) for number in wanted}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_IGN if last and number == signal.SIGINT else handler)
        _noted = before


def check() -> None:
    """Raise KeyboardInterrupt if a signal came before, whether or not it was raised then."""
    if _noted.received:
        raise KeyboardInterrupt


@contextmanager
def held() -> Iterator[None]:
    """Complete the body whatever comes, and raise what came at its end: what must not be done by halves."""
    before = _noted.received
    _noted.held += 1
    try:
        yield
    finally:
        _noted.held -= 1
    if not before and not _noted.held:
        check()


@contextmanager
def nothing_at_stake() -> Iterator[None]:
    """End the process at once on a signal: for imports, in the midst of which C extensions take no exception."""
    before, _noted.at_once = _noted.at_once, True
    try:
        yield
    finally:
        _noted.at_once = before


def _handle(number: int, frame: FrameType | None) -> None:
    _noted.received = True
    if _noted.held:
        return
    if _noted.at_once:
        os.write(2, f"error: {_noted.line}\n".encode())
        os._exit(EXIT_CODE)
    raise KeyboardInterrupt


def beside(body: Callable[[], Result], stop: Callable[[], object]) -> Result:
    """`body`, long and in C, in another thread, so that this one takes signals meanwhile; one makes it call `stop`."""
    results: list[Result] = []
    errors: list[BaseException] = []
    done = threading.Event()  # a join that a signal ends takes the thread for ended, up to Python 3.12

    def work() -> None:
        try:
            results.append(body())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    try:
        with held():
            threading.Thread(target=work, daemon=True).start()
        while not done.wait(LOOK_S):  # a signal that another thread got ends no wait of this one
            pass
    except BaseException:
        with held():
            while not done.is_set():  # again, as what has not begun yet cannot be stopped
                stop()
                done.wait(STOP_AGAIN_S)
        raise
    if errors:
        raise errors[0]
    return results[0]
