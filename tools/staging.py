"""The output folder appears whole or not at all.

Everything is written into `.NAME.XXXX.partial` beside the output and renamed at the end, so an error, a full disk or
Ctrl-C leaves what was there before. Only a folder that an earlier run wrote, and nobody has added to or changed since,
is replaced.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bevel.calib.errors import UserError
from bevel.tools import manifest

FREE_BYTES_WANTED = 16 * 1024 * 1024  # an early refusal; a disk that fills later is still caught


@contextmanager
def staged(output: Path, sources: tuple[Path, ...]) -> Iterator[Path]:
    """An empty folder to write into, which becomes `output` when the body ends well and disappears otherwise.

    `sources` are the user's input files, which `output` must not hold. Raises UserError when `output` may not be
    replaced, cannot be written or has no room.
    """
    output = Path(os.path.abspath(output))
    _refuse_unsafe(output, sources)
    base = _nearest_folder(output.parent)
    folder = _make_folder(base, output.name)
    try:
        yield folder
        output.parent.mkdir(parents=True, exist_ok=True)
        _swap(folder, output)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full: {output} could not be written") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_unsafe(output: Path, sources: tuple[Path, ...]) -> None:
    real = output.resolve()
    for source in sources:
        if source.exists() and (real == source.resolve() or real in source.resolve().parents):
            raise UserError(f"{output}: the output folder holds the input {source}; name another folder with -o")
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise UserError(f"{output} is not a folder; name a new or an empty one with -o")
    if output.is_dir() and any(output.iterdir()) and (reason := manifest.foreign(output)):
        raise UserError(f"{output} is not empty and {reason}; name a new folder with -o")


def _nearest_folder(path: Path) -> Path:
    """`path`, or the first of its parents that exists: on the same file system as the folder to come."""
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        raise UserError(f"{path} is not a folder, so nothing can be written below it")
    return path


def _make_folder(base: Path, name: str) -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=base))
    except OSError as error:
        raise UserError(f"cannot write in {base}: {error.strerror}") from error
    if (free := shutil.disk_usage(base).free) < FREE_BYTES_WANTED:
        folder.rmdir()
        raise UserError(f"{base} has {free} bytes left on its disk; {FREE_BYTES_WANTED} are needed")
    folder.chmod(0o777 & ~_umask())  # mkdtemp made it private; the output should be as any new folder
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _swap(folder: Path, output: Path) -> None:
    """`folder` becomes `output`; an earlier output steps aside first and comes back if that fails."""
    if not output.exists():
        folder.rename(output)
        return
    aside = folder.with_suffix(".old")
    output.rename(aside)
    try:
        folder.rename(output)
    except BaseException:
        aside.rename(output)
        raise
    shutil.rmtree(aside)
