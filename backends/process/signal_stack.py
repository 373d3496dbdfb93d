"""The stack that signal handlers run on, kept from libraries that would leave one behind that is gone.

OpenVINO's CPU plugin gives this thread a stack of its own for signals where the processor has AMX. Of several plugins,
the last one that ends puts back that of another one, whose memory is free by then: the next signal, Ctrl-C say, ends
the process. (Seen with OpenVINO 2026.4, by `strace -k -e sigaltstack`.) A plugin whose stack is not in use when it ends
leaves things alone.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """stack_t of Linux."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def exchanged(new: SignalStack | None = None) -> SignalStack:
    """The stack of this thread before `new`, if any, takes its place. Linux only. Raises OSError."""
    old = SignalStack()
    library = ctypes.CDLL(None, use_errno=True)
    if library.sigaltstack(None if new is None else ctypes.byref(new), ctypes.byref(old)) != 0:
        raise OSError(ctypes.get_errno(), "sigaltstack")
    return old


@contextmanager
def kept() -> Iterator[None]:
    """Whatever the body gives this thread, its signals then have the stack from before."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = exchanged()
    try:
        yield
    finally:
        exchanged(before)
