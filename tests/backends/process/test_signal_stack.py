"""Signals have the stack behind a body that they had before it."""

from __future__ import annotations

import ctypes
import sys

import pytest

from bevel.backends.process.signal_stack import SignalStack, exchanged, kept

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux's stack_t is known")
SIZE = 1 << 16


def test_a_stack_that_a_library_gave_is_not_left_behind() -> None:
    before = exchanged()
    memory = ctypes.create_string_buffer(SIZE)
    with kept():
        exchanged(SignalStack(ctypes.addressof(memory), 0, SIZE))
        assert exchanged().place == ctypes.addressof(memory)
    after = exchanged()
    assert (after.place, after.flags, after.size) == (before.place, before.flags, before.size)


def test_a_stack_too_small_for_the_system_is_refused() -> None:
    memory = ctypes.create_string_buffer(16)
    with pytest.raises(OSError, match="sigaltstack"):
        exchanged(SignalStack(ctypes.addressof(memory), 0, 16))
