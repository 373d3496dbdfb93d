"""Kernels as C, as objects of TVM's LLVM and as objects of a C compiler: each made once, then taken from the cache.

Parsing, lowering and compiling kernels is most of the time of a build, and a search builds the same kernels many times.
What these functions return has the same bytes whether it comes from the cache or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bevel.backends.binary.toolchain import C_FLAGS, Toolchain
from bevel.backends.process.cache import remembered
from bevel.backends.program.op import Op

SIZE_BYTES = 8


Begin = Callable[[str], None]  # is told each symbol whose kernel is made


def unheard(symbol: str) -> None:
    pass


def kernels_source(
    kernels: Mapping[str, Op], aliasing: frozenset[str], headers: Iterable[str], begin: Begin = unheard
) -> str:
    """The C file of `kernels`, {symbol: kernel}, as `raw_abi.c_source` writes it."""
    wanted = sorted(set(headers))
    parts = [*named(kernels), *sorted(aliasing.intersection(kernels)), "headers", *wanted]

    def make() -> bytes:
        from bevel.backends.tir.raw_abi import c_source

        return c_source(built(kernels, begin), aliasing, wanted).encode()

    return remembered("c", parts, make).decode()


def built(kernels: Mapping[str, Op], begin: Begin) -> dict[str, Any]:
    from bevel.backends.tir.builder import build

    functions = {}
    for symbol, kernel in kernels.items():
        begin(symbol)
        functions[symbol] = build(kernel, symbol)
    return functions


def kernels_object(
    kernels: Mapping[str, Op], target: dict[str, Any], aliasing: frozenset[str], begin: Begin = unheard
) -> bytes:
    """The object of `kernels`, {symbol: kernel}, for TVM's LLVM `target`, as `raw_abi.llvm_object` makes it."""
    parts = [*named(kernels), *sorted(aliasing.intersection(kernels)), "target", repr(sorted(target.items()))]

    def make() -> bytes:
        from bevel.backends.tir.raw_abi import llvm_object

        return llvm_object(built(kernels, begin), target, aliasing)

    return remembered("llvm", parts, make)


def compile_kernels(source: str, folder: Path, toolchain: Toolchain, flags: Sequence[str]) -> str:
    """What `toolchain.compile` does with the kernels' C file `source` and the headers beside it; the object's name.

    The compiler's report of stack frames, which gcc writes beside the object, comes from the cache too.
    """
    texts = [part for path in (folder / source, *sorted(folder.glob("*.h"))) for part in (path.name, path.read_bytes())]
    command = (toolchain.version, *toolchain.command, *toolchain.flags, *C_FLAGS, *flags)
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


def named(kernels: Mapping[str, Op]) -> list[str]:
    return [part for symbol, kernel in kernels.items() for part in (symbol, kernel.content)]
