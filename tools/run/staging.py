"""The output folder appears whole or not at all.

Everything is written into `.NAME.XXXXXXXX.bevel.partial` beside the output, which changes places with the output in one
step, so an error, a full disk, Ctrl-C or kill -9 leaves what was there before. Only a folder that an earlier run wrote,
and nobody has added to or changed since, is replaced.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bevel.backends.process import interruption, litter
from bevel.backends.process.room import check_room, full_disk_named
from bevel.calib.errors import UserError
from bevel.tools.run import manifest

NAME_BYTES = 255  # the limit of Linux's file systems
HERE = -100  # AT_FDCWD
EXCHANGE = 2  # RENAME_EXCHANGE


@contextmanager
def staged(output: Path, sources: tuple[Path, ...]) -> Iterator[Path]:
    """An empty folder to write into, which becomes `output` when the body ends well and disappears otherwise.

    `sources` are the user's input files, which `output` must not hold. Raises UserError when `output` may not be
    replaced, cannot be written or has no room.
    """
    output = Path(os.path.abspath(output))
    check_output(output, sources)
    base = _nearest_folder(output.parent)
    with full_disk_named(output), _folder(base, output.name) as folder:
        yield folder
        check_output(output, sources)  # again: a run takes minutes, and others write meanwhile
        interruption.check()
        with interruption.held():
            output.parent.mkdir(parents=True, exist_ok=True)
            _swap(folder, output)
            if not litter.in_scratch(output):
                interruption.outlived(str(output))


def check_output(output: Path, sources: tuple[Path, ...]) -> None:
    """Raises UserError where `output` may not be replaced."""
    if len(os.fsencode(output.name)) > NAME_BYTES:
        raise UserError(f"-o {output.name[:20]}...: a name of {len(output.name)} letters is too long for a folder")
    try:
        real = output.resolve()
        exists = output.exists()
    except (OSError, RuntimeError) as error:  # such as a path that is too long as a whole, and links in a circle
        raise UserError(f"-o {output}: {error.strerror if isinstance(error, OSError) else error}") from error
    for source in sources:
        if source.exists() and (real == source.resolve() or real in source.resolve().parents):
            raise UserError(f"{output}: the output folder holds the input {source}; name another folder with -o")
    if output.is_symlink() or (exists and not output.is_dir()):
        raise UserError(f"{output} is not a folder; name a new or an empty one with -o")
    if exists and any(output.iterdir()) and (reason := manifest.foreign(output)):
        raise UserError(f"{output} is not empty and {reason}; name a new folder with -o")


def _nearest_folder(path: Path) -> Path:
    """`path`, or the first of its parents that exists: on the same file system as the folder to come."""
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        raise UserError(f"{path} is not a folder, so nothing can be written below it")
    return path


@contextmanager
def _folder(base: Path, name: str) -> Iterator[Path]:
    with litter.temporary(base, f".{name}", litter.PARTIAL, lambda error: _unwritable(base, error)) as folder:
        check_room(base)
        folder.chmod(0o777 & ~_umask())  # mkdtemp made it private; the output should be as any new folder
        yield folder


def _unwritable(base: Path, error: OSError) -> UserError:
    return UserError(f"cannot write in {base}: {error.strerror}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _swap(folder: Path, output: Path) -> None:
    """`folder` becomes `output`, and an earlier output becomes `folder`: at once, where the file system can.

    Where it cannot, the earlier output steps aside first and comes back if that fails.
    """
    if not output.exists():
        try:
            folder.rename(output)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # or another run has just put its own there
                raise
    if _exchanged(folder, output):
        return
    aside = folder.with_suffix(".old")
    output.rename(aside)
    try:
        folder.rename(output)
    except BaseException:
        aside.rename(output)
        raise
    shutil.rmtree(aside)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step (Linux 3.15, glibc 2.28); False where that does not exist."""
    with suppress(AttributeError):
        rename = ctypes.CDLL(None).renameat2
        return bool(rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0)
    return False
