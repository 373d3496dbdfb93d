"""Executed blocks from qemu-system-arm, by a plugin that is compiled once (count_plugin.c) and kept in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from bevel.backends.binary import toolchain
from bevel.backends.cortex_m.timing.estimate import Block
from bevel.backends.devices import shared_library
from bevel.backends.devices.image import Image

INTERFACE = "plugin.h"
SOURCE = "count_plugin.c"
# The releases whose plugin interface is version 1; the next one refuses it. (include/qemu/qemu-plugin.h)
FIRST, BEYOND = (6, 0), (8, 2)
CALLER = "timed"  # the function in report.c that calls what it times


def usable(command: str) -> bool:
    """Whether this QEMU takes our plugin, and there is a compiler to build it."""
    version = toolchain.printed_version(command)
    if version is None or shared_library.host_compiler() is None:
        return False
    number = tuple(int(part) for part in version.split(".")[:2])
    return FIRST <= number < BEYOND and takes_plugins(command)


@cache
def takes_plugins(command: str) -> bool:
    """QEMU can be built without."""
    return "-plugin " in (toolchain.ask(command, "-help") or "")


def arguments(loaded: Image, entry: str, counts: Path) -> tuple[str, ...]:
    """What makes QEMU write the executed blocks of function `entry` to `counts`."""
    caller = loaded.elf.find(CALLER)
    if caller is None or not caller.size:
        return ()
    given = {"out": counts, "run": loaded.address(entry), "back": loaded.address(CALLER), "size": caller.size}
    return loading(SOURCE, given)


def loading(source: str, given: Mapping[str, object]) -> tuple[str, ...]:
    """What makes QEMU load the plugin `source`, with its arguments; `usable` before."""
    compiler = shared_library.host_compiler()
    assert compiler is not None
    library = shared_library.compiled(compiler, __package__, INTERFACE, source)
    return "-plugin", ",".join([f"file={library}", *(f"{key}={value}" for key, value in given.items())])


def read(counts: Path) -> tuple[Block, ...]:
    """The blocks in `counts`, those that were translated twice added up; none where QEMU wrote nothing."""
    if not counts.exists():
        return ()
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    for line in counts.read_text(encoding="ascii").splitlines():
        address, size, executed, fell_through = map(int, line.split())
        before = sums.get((address, size), (0, 0))
        sums[address, size] = before[0] + executed, before[1] + fell_through
    return tuple(Block(*place, *counted) for place, counted in sorted(sums.items()))
