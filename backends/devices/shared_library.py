"""Shared libraries in C for this machine itself, compiled once and then kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from importlib.resources import files
from pathlib import Path

from bevel.backends.binary import toolchain
from bevel.backends.binary.toolchain import Toolchain
from bevel.backends.process.cache import cache_folder

FLAGS = ("-O2", "-fPIC", "-shared", "-g0")


def host_compiler() -> Toolchain | None:
    """What compiles for the machine we run on: cc or gcc where installed, else zig from its wheel."""
    names = (name for name in ("cc", "gcc") if toolchain.has_headers(name))
    found = (toolchain.gcc(name, ()) for name in names)
    return next((tools for tools in found if tools is not None), None) or toolchain.zig(toolchain.ZIG_FLAGS)


def compiled(compiler: Toolchain, package: str, *names: str) -> Path:
    """The shared library of the sources `names` of a package, one text, which is called as the last of them; from the
    cache if it is there for this text, compiler and machine."""
    source = b"".join(files(package).joinpath(name).read_bytes() for name in names)
    key = hashlib.sha256(source + repr((compiler.version, FLAGS, platform.machine())).encode()).hexdigest()[:24]
    folder = cache_folder()
    library = folder / f"{Path(names[-1]).stem}-{key}.so"
    if not library.exists():
        build(compiler, source, library)
    return library


def build(compiler: Toolchain, source: bytes, library: Path) -> None:
    """Compile beside the final place and move there in one step: of two processes, either one's file is right."""
    with tempfile.TemporaryDirectory(dir=library.parent) as name:
        folder, file = Path(name), f"{library.stem}.c"
        (folder / file).write_bytes(source)
        toolchain.run((*compiler.command, *compiler.flags, *FLAGS, file, "-o", library.name), folder)
        os.replace(folder / library.name, library)
