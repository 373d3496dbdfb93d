"""Sections of WebAssembly files, as far as their sizes go: WebAssembly Core Specification, chapter 5."""

from __future__ import annotations

from collections.abc import Iterator

MAGIC = b"\0asm"
HEAD = 8  # the magic and a version
CODE, DATA = 10, 11


def is_wasm(data: bytes) -> bool:
    return data.startswith(MAGIC)


def sections(data: bytes) -> Iterator[tuple[int, int]]:
    """(number of the kind, bytes) of each section."""
    at = HEAD
    while at < len(data):
        kind = data[at]
        size, at = unsigned(data, at + 1)
        yield kind, size
        at += size


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The LEB128 number at a place, and the place behind it."""
    value, place = 0, 0
    while True:
        value |= (data[at] & 127) << place
        at, place = at + 1, place + 7
        if data[at - 1] < 128:
            return value, at
