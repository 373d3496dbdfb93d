"""Folders that a run needs only while it lives: gone at its end, or by the next run where none came (kill -9).

Such a folder is locked by the process that made it (flock on the folder itself), and the kernel drops the lock with the
process. What carries our suffix, belongs to our user and can be locked so has lost its maker, and may go. Where a file
system has no such locks nothing is taken for lost.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from bevel.backends.process.interruption import held
from bevel.backends.process.room import check_room
from bevel.calib.errors import UserError

PARTIAL, SCRATCH = ".bevel.partial", ".bevel.scratch"
_OURS = re.compile(r".*\.[a-z0-9_]{8}(\.bevel\.partial|\.bevel\.scratch)", re.DOTALL)
NAME_BYTES = 100  # of a folder's name that an output's name may take: file systems end at 255
ATTEMPTS = 100


@contextmanager
def temporary(base: Path, name: str, suffix: str, refusal: Callable[[OSError], UserError]) -> Iterator[Path]:
    """A new folder in `base`, which is there while the body runs, unless the body moves it away.

    Raises `refusal` where it cannot be made.
    """
    sweep(base)
    prefix = os.fsdecode(os.fsencode(name)[:NAME_BYTES])
    try:
        folder, handle = _make(base, f"{prefix}.", suffix)
    except OSError as error:
        raise refusal(error) from error
    try:
        yield folder
    finally:
        with held():
            shutil.rmtree(folder, ignore_errors=True)
            if handle is not None:
                os.close(handle)


def sweep(base: Path) -> None:
    """Remove what runs that were killed have left in `base`."""
    with suppress(OSError), os.scandir(base) as entries:
        found = [entry.name for entry in entries if _OURS.fullmatch(entry.name)]
        for name in found:
            _remove_lost(base / name)


def _remove_lost(folder: Path) -> None:
    with suppress(OSError):
        status = folder.lstat()
        if status.st_uid != os.geteuid() or (handle := _lock(folder, wait=False)) is None:
            return
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _make(base: Path, prefix: str, suffix: str) -> tuple[Path, int | None]:
    """A new folder and its lock. Another run may take it for lost before it is locked: then we make another."""
    for _ in range(ATTEMPTS):
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=base))
        handle = _lock(folder, wait=True)
        if handle is None and folder.is_dir():
            return folder, None
        if handle is not None:
            with suppress(OSError):
                if os.path.samestat(os.fstat(handle), folder.lstat()):
                    return folder, handle
            os.close(handle)
    raise OSError(f"cannot make a folder in {base} that stays")


def _lock(folder: Path, wait: bool) -> int | None:
    """A descriptor that holds the lock; None where another process has it, or the file system knows no locks."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(handle)
        return None
    return handle


def temporary_base() -> Path:
    """Where temporary files go. Raises UserError where no such folder can be written or has room."""
    try:
        base = Path(tempfile.gettempdir())
    except FileNotFoundError:
        tried = f"TMPDIR={os.environ['TMPDIR']}, " if "TMPDIR" in os.environ else ""
        raise UserError(
            f"nowhere to put temporary files: {tried}/tmp, /var/tmp and this folder cannot be written or are full; "
            "set TMPDIR to a folder with room"
        ) from None
    wanted = os.environ.get("TMPDIR")
    for place in dict.fromkeys([*([Path(wanted)] if wanted else []), base]):
        if place.is_dir():
            check_room(place, "temporary files go there (TMPDIR)")
    return base


@contextmanager
def scratch() -> Iterator[None]:
    """All temporary files of the body, and of the programs that it starts, in one folder that does not outlive it."""
    before, wanted = tempfile.tempdir, os.environ.get("TMPDIR")
    with scratch_folder(temporary_base()) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before
            if wanted is None:
                os.environ.pop("TMPDIR", None)
            else:
                os.environ["TMPDIR"] = wanted


def outside_scratch() -> Path:
    """Where temporary files go that may be needed after the run's own."""
    base = Path(tempfile.gettempdir())
    return base.parent if base.name.endswith(SCRATCH) else base


def in_scratch(path: Path) -> bool:
    return any(part.endswith(SCRATCH) for part in path.parts)


def scratch_folder(base: Path) -> AbstractContextManager[Path]:
    def refusal(error: OSError) -> UserError:
        return UserError(f"cannot write temporary files in {base}: {error.strerror}; set TMPDIR to another folder")

    return temporary(base, "bevel", SCRATCH, refusal)
