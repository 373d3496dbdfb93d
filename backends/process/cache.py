"""What slow tools made, kept in the user's cache under the content of what it was made from.

An entry's name is a hash of everything its bytes depend on: the request itself, the sources of Bevel that answer it,
and the version of TVM. An edited kernel so never meets what an older one left. Entries carry a checksum: one that was
damaged is made anew. The oldest are removed when all take more than `LIMIT`. A cache that cannot be written is none.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from bevel.backends.process.litter import outside_scratch, scratch_folder

LIMIT = 1 << 30  # bytes of all entries
KEPT = LIMIT * 3 // 4  # what is left of them when the limit was passed
SOURCES = (".py", ".c", ".h", ".S", ".ld", ".in", ".toml")
GENERATING = ("calib", "backends")  # the folders that generated code depends on
ALL_ROOMS = (*GENERATING, "passes", "tools")
CHECKSUM_BYTES = 32
ROOT = Path(__file__).resolve().parents[2]


def remembered(kind: str, parts: Sequence[str | bytes], make: Callable[[], bytes]) -> bytes:
    """What `make` answers, or answered to an equal request: `kind` and `parts` hold all that its answer depends on,
    besides Bevel's sources and TVM. Whatever `make` raises is passed on, and nothing is kept."""
    path = entries() / kind / digest((kind, sources_digest(), tvm_version(), *parts))
    known = read(path)
    if known is not None:
        return known
    made = make()
    write(path, made)
    return made


def digest(parts: Iterable[str | bytes]) -> str:
    """A hash that tells ("ab", "c") from ("a", "bc")."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


@cache
def sources_digest(rooms: tuple[str, ...] = GENERATING) -> str:
    """A hash of all files in `rooms`."""
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in SOURCES]
    return digest(part for path in sorted(files) for part in (str(path.relative_to(ROOT)), path.read_bytes()))


@cache
def tvm_version() -> str:
    return metadata.version("apache-tvm")


def read(path: Path) -> bytes | None:
    """The content of an entry; None where there is none, or not the one that was written."""
    try:
        data = path.read_bytes()
        os.utime(path)
    except OSError:
        return None
    content = data[CHECKSUM_BYTES:]
    return content if hashlib.sha256(content).digest() == data[:CHECKSUM_BYTES] else None


def write(path: Path, content: bytes) -> None:
    """In one step, so that of two processes either one's entry is whole. A full disk keeps nothing."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)


@cache
def entries() -> Path:
    """The folder of the entries, tidied once for each process."""
    folder = cache_folder() / "built"
    with contextlib.suppress(OSError):
        tidy(folder)
    return folder


def tidy(folder: Path, limit: int = LIMIT, kept: int = KEPT) -> None:
    """Remove what was not used for longest, where `folder` takes more than `limit` bytes."""
    found = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= limit:
        return
    for _, size, path in sorted(found):
        path.unlink(missing_ok=True)
        total -= size
        if total <= kept:
            return


@cache
def cache_folder() -> Path:
    """~/.cache/bevel (XDG base directory specification), or a folder for this process where that is not writable."""
    if writable(folder := user_caches() / "bevel"):
        return folder
    private = contextlib.ExitStack()
    atexit.register(private.close)
    return private.enter_context(scratch_folder(outside_scratch()))


def user_caches() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"))


def writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@cache
def zig_cache() -> Path:
    """Where zig may keep what it makes once: its own choice, or ours where that cannot be written. zig would then run
    for ever."""
    chosen = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    folder = Path(chosen) if chosen else user_caches() / "zig"
    return folder if writable(folder) else cache_folder() / "zig"
