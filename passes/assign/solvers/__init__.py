"""Who chooses the formats of a problem: a solver a file, found by its name; `base` says what they have in common."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from bevel.passes.assign.solvers.base import Solver


@cache
def solvers() -> dict[str, Solver]:
    """Every solver of this folder, by name."""
    modules = [import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    found: list[Solver] = [module.SOLVER for module in modules if hasattr(module, "SOLVER")]
    return {one.name: one for one in found}
