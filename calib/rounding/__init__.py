"""How weights become codes: one file a rounder, found by its file. Arrays go in and codes come out."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bevel.calib.rounding.base import Rounder

BASE = "base"


@cache
def rounder_names() -> tuple[str, ...]:
    """The names of all rounders, without importing one."""
    return tuple(sorted(module.name.replace("_", "-") for module in iter_modules(__path__) if module.name != BASE))


@cache
def rounder(name: str) -> Rounder:
    """The rounder called `name`. Raises ValueError for an unknown name."""
    if name not in rounder_names():
        raise ValueError(f"no rounder {name!r}; known are {', '.join(rounder_names())}")
    found: Rounder = import_module(f"{__name__}.{name.replace('-', '_')}").ROUNDER
    return found
