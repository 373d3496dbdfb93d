"""What this machine has, and what it could do with more; and what can be built for."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bevel.backends import target as targets
from bevel.backends.binary import toolchain
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target


def show_tools() -> None:
    table = Table()
    for name in ("tool", "found", "enables"):
        table.add_column(name)
    for tool in toolchain.tools():
        table.add_row(tool.name, escape(tool.found) if tool.found else "[yellow]not found[/]", escape(tool.enables))
    Console().print(table)


def show_targets() -> None:
    table = Table()
    for name in ("target", "flash", "RAM", "devices", "what it is"):
        table.add_column(name)
    for name in targets.names():
        found = targets.load(name)
        devices = ", ".join(found.devices)
        table.add_row(name, _limit(found, Resource.FLASH), _limit(found, Resource.RAM), devices, escape(found.summary))
    Console().print(table)


def _limit(target: Target, name: Resource) -> str:
    return f"{target.limits.whole(name) // 1024} KiB" if name in target.limits else ""
