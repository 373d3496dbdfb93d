"""Kernels as C and as objects of TVM's LLVM: each made once, then taken from the cache.

Parsing and lowering kernels is most of the time of a build, and a search builds the same kernels many times.
What these functions return has the same bytes whether it comes from the cache or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bevel.backends.process.cache import remembered
from bevel.backends.program.op import Op

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


def built(kernels: Mapping[str, Op], begin: Begin, level: str | None = None) -> dict[str, Any]:
    from bevel.backends.tir.builder import build

    functions = {}
    for symbol, kernel in kernels.items():
        begin(symbol)
        functions[symbol] = build(kernel, symbol, level)
    return functions


def kernels_object(
    kernels: Mapping[str, Op],
    target: dict[str, Any],
    aliasing: frozenset[str],
    begin: Begin = unheard,
    level: str | None = None,
) -> bytes:
    """The object of `kernels`, {symbol: kernel}, for TVM's LLVM `target`, as `raw_abi.llvm_object` makes it; of loops
    for a level that they have."""
    parts = [*named(kernels), *sorted(aliasing.intersection(kernels)), "target", repr(sorted(target.items()))]
    parts += [] if level is None else ["level", level]

    def make() -> bytes:
        from bevel.backends.tir.raw_abi import llvm_object

        return llvm_object(built(kernels, begin, level), target, aliasing)

    return remembered("llvm", parts, make)


def named(kernels: Mapping[str, Op]) -> list[str]:
    return [part for symbol, kernel in kernels.items() for part in (symbol, kernel.content)]
