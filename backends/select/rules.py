"""Rules for kernels, found by the folders they lie in: every file of a room that has a function `specialize`.

A rule looks at a call and answers with a kernel and its constants, or with the reason why it has none. Its name is its
file's; their order decides nothing but which of two kernels is taken that cost the same.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from types import ModuleType

from bevel.backends.program.kernel import Special
from bevel.backends.program.program import Call
from bevel.backends.target import Target

Rule = Callable[[Call, Target], Special | str]


def rules_in(rooms: Iterable[ModuleType]) -> dict[str, Rule]:
    """{name: rule} of all rooms, each in the order of its files."""
    return {name: rule for room in rooms for name, rule in rules_of(room)}


@cache
def rules_of(room: ModuleType) -> tuple[tuple[str, Rule], ...]:
    names = sorted(found.name for found in pkgutil.iter_modules(room.__path__))
    modules = [(name, import_module(f"{room.__name__}.{name}")) for name in names]
    return tuple((name, module.specialize) for name, module in modules if hasattr(module, "specialize"))
