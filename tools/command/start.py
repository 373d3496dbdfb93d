"""What the installed commands call first: until Bevel can say in one line that it was interrupted, Ctrl-C just ends it.

Only `signal` is imported before that is arranged; the rest of the start takes most of a tenth of a second, and in it
Python would answer with a traceback.
"""

from __future__ import annotations

import signal


def optimize() -> int:
    """Entry point of `optimize`: the exit code."""
    _end_silently()
    from bevel.tools.command import optimize

    return optimize.main()


def bevel() -> int:
    """Entry point of `bevel`: the exit code."""
    _end_silently()
    from bevel.tools.command import cli

    return cli.main()


def _end_silently() -> None:
    """Nothing is at stake yet. Ctrl-C stays ignored where whoever started us wants it ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
