"""What a solver is: the best assignment within limits, and assignments from small to accurate to be tried for real."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from bevel.backends.program.resources import Resource, Resources
from bevel.passes.assign.probe import Floats
from bevel.passes.assign.problem import Assignment, Problem
from bevel.passes.assign.refine import power

Passes = Callable[[Assignment], bool]  # whether the real model is accurate enough with it


class Solver(ABC):
    """products: of the sites' errors, as `bevel.passes.assign.refine.power` takes them."""

    name: ClassVar[str]

    @abstractmethod
    def best(self, problem: Problem, products: Floats, limits: Resources) -> Assignment | None:
        """The most accurate assignment within `limits` that it finds; None where it finds none."""

    @abstractmethod
    def path(self, problem: Problem, products: Floats, limits: Resources) -> list[Assignment]:
        """Assignments within `limits`, smallest first, each with less power of errors than those before it."""

    def smallest(self, problem: Problem, products: Floats, limits: Resources, passes: Passes) -> Assignment | None:
        """The first of its path that passes, by bisection, as accuracy falls along it but for a few samples; None where
        its last does not."""
        path = self.path(problem, products, limits)
        found = bisected(path, passes)
        return path[found] if found < len(path) and passes(path[found]) else None


def bisected(path: Sequence[Assignment], passes: Passes) -> int:
    """The place of the first that passes, where all behind it do; the length where none does."""
    low, high = 0, len(path)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(path[middle]) else (middle + 1, high)
    return low


def rising(problem: Problem, products: Floats, found: Sequence[Assignment]) -> list[Assignment]:
    """Of `found` those that no smaller one is as accurate as, smallest first."""
    flash_of = partial(problem.amount, Resource.FLASH)
    power_of = partial(power, products, len(problem.formats))
    kept: list[Assignment] = []
    for one in sorted(set(found), key=lambda one: (flash_of(one), power_of(one), one)):
        if not kept or power_of(one) < power_of(kept[-1]):
            kept.append(one)
    return kept
