"""What a path of the user's is, asked before it is opened: a pipe or a device might keep us waiting for ever."""

from __future__ import annotations

import stat
from pathlib import Path

from bevel.calib.errors import UserError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_plain(path: Path) -> None:
    """Raises UserError where `path` is something else than a plain file, OSError where there is nothing."""
    if (kind := kind_of(path)) is not None:
        raise UserError(f"{path}: cannot be read (it is {kind}); give a file")


def kind_of(path: Path) -> str | None:
    """What `path` is besides a plain file; None for one. Raises OSError where there is nothing."""
    mode = path.stat().st_mode
    return next((name for has, name in _KINDS if has(mode)), None)
