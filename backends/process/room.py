"""Room on disks: asked for before a run begins, and where a tool says that a disk is full, which one."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bevel.calib.errors import UserError

WANTED = 16 * 1024 * 1024  # an early refusal; a disk that fills later is still caught
FULL = 1 << 20  # no build ends with less free than this
ERRORS = (errno.ENOSPC, errno.EDQUOT)


def check_room(folder: Path, purpose: str = "") -> None:
    """Raises UserError where less than a small product's size is free."""
    if (free := shutil.disk_usage(folder).free) < WANTED:
        why = f"; {purpose}" if purpose else ""
        raise UserError(f"{folder} has {free} bytes left on its disk; {WANTED} are needed{why}")


def full_disk(folder: Path) -> UserError:
    """What to say where something could not be written for a build in `folder`: compilers write elsewhere, too."""
    for place, purpose in places(folder):
        if free_bytes(place) < FULL:
            return UserError(f"the disk is full: no room in {place}{purpose}")
    return UserError(f"the disk is full: could not write to {folder}")


def some_disk_is_full(folder: Path) -> bool:
    return any(free_bytes(place) < FULL for place, _ in places(folder))


def places(folder: Path) -> list[tuple[Path, str]]:
    """Where a build writes, and what for."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~"), ".cache"))
    temporary = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    return [(folder, ""), (temporary, ", where temporary files go (TMPDIR)"), (home, ", where compilers keep caches")]


def free_bytes(folder: Path) -> float:
    """Infinite for a folder that is not there."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return float("inf")


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """A disk that fills in the body becomes a UserError that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in ERRORS:
            raise full_disk(folder) from error
        raise
