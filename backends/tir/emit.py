"""Kernels as code, each by the route it chooses: in C where it includes C, else as TVM makes it for the target, which
is an object of its LLVM, or C too. Files of both kinds go into one library.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bevel.backends.backend import Begin, Kernels, Source
from bevel.backends.binary.c.headers import header_texts
from bevel.backends.program.kernel import header_of
from bevel.backends.program.op import Op
from bevel.backends.target import Target
from bevel.backends.tir.compiled import kernels_object, kernels_source


def emit(code: Kernels, target: Target, begin: Begin) -> list[Source]:
    """C files, one for all kernels that share their flags, with the headers they include; and an object of the rest."""
    in_c = {symbol: one for symbol, one in code.kernels.items() if target.llvm is None or header_of(one) is not None}
    others = {symbol: one for symbol, one in code.kernels.items() if symbol not in in_c}
    sources = list(c_sources(code, in_c, f"{code.name}_kernels{'_c' if others else ''}", begin))
    if others:
        made = kernels_object(others, dict(target.llvm or {}), code.aliasing, begin)
        sources.append(Source(f"{code.name}_kernels.o", made))
    return sources


def c_sources(code: Kernels, kernels: Mapping[str, Op], name: str, begin: Begin) -> Iterator[Source]:
    groups: dict[tuple[str, ...], dict[str, Op]] = {}
    for symbol, kernel in kernels.items():
        groups.setdefault(code.flags.get(kernel, ()), {})[symbol] = kernel
    for index, (flags, some) in enumerate(sorted(groups.items())):
        headers = header_texts(some.values())
        yield from (Source(header, text) for header, text in headers.items())
        comment = f"/* Measured best with {' '.join(flags)} */\n" if flags else ""
        text = kernels_source(some, code.aliasing, headers, begin)
        yield Source(f"{name}{f'_{index}' if index else ''}.c", comment + text, flags)
