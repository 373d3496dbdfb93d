"""The one exception that means the user can put it right."""

from __future__ import annotations

import re

LONGEST = 300  # characters of another library's message that still are one line on a terminal

_ORIGIN = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from \S* failed:)?")
_SOURCE = re.compile(r"^/\S+:\d+ .*?\) (?=[A-Z])")  # file, line and C++ signature of what raised
_ASSERTION = re.compile(r"^/\S+:\d+: \w+: Assertion `.*?` failed: ")


class UserError(Exception):
    """A mistake in the input, in one line: which node or file, what was found, and what would work.

    The command line prints the line and exits with code 2; everything else is a bug of ours, and code 1.
    """


def reason_of(error: Exception) -> str:
    """What another library says is wrong, in one short line without its own file names and codes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = _ASSERTION.sub("", _SOURCE.sub("", _ORIGIN.sub("", lines[0]).strip()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
