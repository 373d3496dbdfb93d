"""Objects of a C compiler: each made once, then taken from the cache, with the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bevel.backends.binary.toolchain import C_FLAGS, Toolchain
from bevel.backends.process.cache import remembered

SIZE_BYTES = 8


def compiled(
    toolchain: Toolchain, source: str, folder: Path, flags: Sequence[str] = (), reads: Iterable[Path] = ()
) -> str:
    """What `toolchain.compile` does with `folder`/`source`; the object's name. An entry of the cache is for this text,
    this compiler and these flags, the headers beside the source, and the files `reads` that it includes from elsewhere;
    headers of the compiler and of the C library are taken to be those that come with it.

    The compiler's report of stack frames, which gcc writes beside the object, comes from the cache too.
    """
    included = (*sorted(folder.glob("*.h")), *sorted(reads))
    texts = [part for path in (folder / source, *included) for part in (path.name, path.read_bytes())]
    command = (toolchain.version, toolchain.identity, *toolchain.command, *toolchain.flags, *C_FLAGS, *flags)
    object_path = (folder / source).with_suffix(".o")
    report = object_path.with_suffix(".su")

    def make() -> bytes:
        toolchain.compile(source, folder, flags)
        code = object_path.read_bytes()
        return len(code).to_bytes(SIZE_BYTES, "little") + code + (report.read_bytes() if report.exists() else b"")

    made = remembered("object", [*command, "texts", *texts], make)
    end = SIZE_BYTES + int.from_bytes(made[:SIZE_BYTES], "little")
    object_path.write_bytes(made[SIZE_BYTES:end])
    if made[end:]:
        report.write_bytes(made[end:])
    return object_path.name
