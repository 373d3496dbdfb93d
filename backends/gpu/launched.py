"""What a host knows of kernels on a device: their source, and the launches that each call of one takes. No TVM here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bevel.backends.process.cache import remembered
from bevel.backends.program.op import Op, Role
from bevel.backends.tir.compiled import Begin, named


@dataclass(frozen=True)
class LaunchNumbers:
    """One launch of a call: the device function, the places of the operands that its pointers are of, the values behind
    them, its threads: `groups` work-groups of `threads`, and how often all of them together read or write what is not
    a thread's own."""

    function: str
    operands: tuple[int, ...]
    values: tuple[int, ...]
    groups: int
    threads: int
    accesses: int


@dataclass(frozen=True)
class DeviceCode:
    """`source` of all kernels; by a kernel's symbol the launches of a call, in order, and why some of them run in one
    thread, empty where none does."""

    source: str
    launches: Mapping[str, tuple[LaunchNumbers, ...]]
    serial: Mapping[str, str]


def device_code(
    kernels: Mapping[str, Op],
    language: Mapping[str, str],
    groups: Mapping[str, int],
    aliasing: frozenset[str],
    begin: Begin,
) -> DeviceCode:
    """The code of `kernels`, {symbol: kernel}, for TVM's target `language`, in work-groups of `groups`, {symbol:
    threads}; from the cache where it is known."""
    parts = [*named(kernels), "language", *sorted(f"{key}={value}" for key, value in language.items())]
    parts += [f"{symbol}={groups[symbol]}" for symbol in kernels] + sorted(aliasing.intersection(kernels))
    found = json.loads(remembered("device", parts, lambda: made(kernels, language, groups, aliasing, begin)))
    launches = {
        symbol: tuple(
            LaunchNumbers(**(one | {name: tuple(one[name]) for name in ("operands", "values")})) for one in several
        )
        for symbol, several in found["launches"].items()
    }
    return DeviceCode(found["source"], launches, found["serial"])


def made(
    kernels: Mapping[str, Op],
    language: Mapping[str, str],
    groups: Mapping[str, int],
    aliasing: frozenset[str],
    begin: Begin,
) -> bytes:
    from bevel.backends.gpu.device_code import bound, source, steps
    from bevel.backends.tir.builder import build

    ready = {}
    for symbol, kernel in kernels.items():
        begin(symbol)
        roles = [one.role for one in kernel.operands()]
        scratch = [place for place, role in enumerate(roles) if role is Role.SCRATCH]
        overwriting = roles.index(Role.OUTPUT) if symbol in aliasing else None
        ready[symbol] = bound(build(kernel, symbol), scratch, groups[symbol], overwriting)
    launches = {
        symbol: [
            asdict(LaunchNumbers(entry.symbol, entry.operands, turn, entry.groups, entry.threads, entry.accesses))
            for entry, turn in steps(one)
        ]
        for symbol, one in ready.items()
    }
    serial = {symbol: one.serial for symbol, one in ready.items()}
    text = source(ready.values(), language, aliasing)
    return json.dumps({"source": text, "launches": launches, "serial": serial}).encode()
