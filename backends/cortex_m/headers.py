"""The C headers of `backends/cortex_m/c/`."""

from __future__ import annotations

from bevel.backends.binary.c.headers import header_text


def helper_text(header: str) -> str:
    """The text of a header, with those of the same folder that it includes put in place."""
    return header_text(header, __package__ or "")
