"""Every case of every operator and of every machine's kernels, found by their files."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import numpy as np

from bevel.backends.cortex_m import dsp, mve
from bevel.backends.program import ops
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.program import Port
from bevel.backends.tir import rules

Case = tuple[str, int, Op]  # module, place in its list, operator or kernel


def modules(*rooms: ModuleType) -> Iterator[ModuleType]:
    for room in rooms:
        yield from (import_module(f"{room.__name__}.{found.name}") for found in pkgutil.iter_modules(room.__path__))


def cases(*rooms: ModuleType) -> list[Case]:
    """Of the files that have any: all of `program/ops/`, and of a machine's room those that hold kernels."""
    found = [(one.__name__.rpartition(".")[2], one.cases()) for one in modules(*rooms) if hasattr(one, "cases")]
    return [(name, index, case) for name, several in found for index, case in enumerate(several)]


PLAIN = cases(ops)
ALL = [*PLAIN, *cases(rules, dsp, mve)]


def more_inputs(case: Op, count: int) -> list[list[Array]]:
    """Of each input, further arrays that a kernel of `case` takes, where not every combination of integers is one."""
    places = [place for place, one in enumerate(case.roles(Role.INPUT, Role.CONSTANT)) if one.role is Role.INPUT]
    examples = [case.example(np.random.default_rng(1000 + seed)) for seed in range(count)]
    return [[example[place] for example in examples] for place in places]


def result_ports(case: Op, name: str) -> list[Port]:
    """A port for each output: `name`, and for further ones their own name behind it."""
    first, *others = case.roles(Role.OUTPUT)
    labels = [name, *(f"{name}_{one.name}" for one in others)]
    return [Port(label, label, one.shape, one.dtype) for label, one in zip(labels, (first, *others), strict=True)]
