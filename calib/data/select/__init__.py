"""Which samples calibration takes where there are more than it wants: one file a rule, found by its file.

A rule sees a vector of numbers of each sample, what the model makes of it deep inside, and answers places.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bevel.calib.data.select.base import Rule

BASE = "base"


@cache
def rule_names() -> tuple[str, ...]:
    """The names of all rules, without importing one."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.name != BASE))


@cache
def rule(name: str) -> Rule:
    """The rule called `name`. Raises ValueError for an unknown name."""
    if name not in rule_names():
        raise ValueError(f"no rule {name!r}; known are {', '.join(rule_names())}")
    found: Rule = import_module(f"{__name__}.{name}").RULE
    return found
