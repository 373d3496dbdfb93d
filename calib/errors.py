"""The one exception that means the user can put it right."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the input, in one line: which node or file, what was found, and what would work.

    The command line prints the line and exits with code 2; everything else keeps its traceback.
    """
