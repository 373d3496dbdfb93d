"""Ctrl-C counts even where it arrives while C code calls back into Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bevel.backends.process.interruption import check


@contextmanager
def heeded() -> Iterator[None]:
    """Raise KeyboardInterrupt at the begin or the end of the body if one was raised before or inside of it and lost.

    ctypes drops an exception that a callback raises (a simulator's memory-mapped register, say) and reports it to
    `sys.unraisablehook`, so that the body would go on as if nothing had happened.
    """
    check()
    lost: list[BaseException] = []
    previous = sys.unraisablehook

    def remember(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            lost.append(unraisable.exc_value)
        else:
            previous(unraisable)

    sys.unraisablehook = remember
    try:
        yield
    finally:
        sys.unraisablehook = previous
    if lost:
        raise KeyboardInterrupt
    check()
