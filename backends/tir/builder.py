"""The TIR of any operator: a kernel's own, else the plain loops in the file of `backends/tir/kernels/` named as the
operator's file in `backends/program/ops/` is.

Such a file holds `build(op, name)`, which answers the scheduled PrimFunc with `name` as its global symbol and one
buffer for each of the operator's operands.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from bevel.backends.program.kernel import Kernel, LeveledKernel
from bevel.backends.program.op import Op
from bevel.backends.tir import kernels


class NoLoopsError(LookupError):
    """An operator has no plain loops: no file of `backends/tir/kernels/` is named as its own is."""


def build(op: Op, name: str, level: str | None = None) -> Any:
    """The scheduled TIR PrimFunc of `op`, with `name` as its global symbol; of a kernel for one of its levels.

    Raises NoLoopsError for an operator, other than a kernel, that has no plain loops.
    """
    if not isinstance(op, Kernel):
        return loops(type(op)).build(op, name)
    if level is None:
        return op.build(name)
    assert isinstance(op, LeveledKernel)  # nobody else is asked for one
    return op.build_at(name, level)


@cache
def loops(operator: type[Op]) -> ModuleType:
    """The file of `backends/tir/kernels/` that is named as the operator's is. Raises NoLoopsError where none is."""
    found = f"{kernels.__name__}.{operator.__module__.rpartition('.')[2]}"
    if find_spec(found) is None:
        raise NoLoopsError(f"{operator.__name__} has no loops: no file {found}")
    return import_module(found)
