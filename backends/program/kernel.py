"""What a kernel is: one operator at one shape, with its reference, its TIR and its test cases together.

A kernel is a frozen dataclass in `backends/tir/kernels/<operator>.py`; its fields are everything that is fixed when the
code is generated (shapes, strides, zero points). Its operands arrive as pointers, in the order of `operands`.
Two calls whose kernels compare equal share one compiled function.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Role(Enum):
    INPUT = "input"  # an activation, read
    CONSTANT = "constant"  # weights and parameters, read from flash
    OUTPUT = "output"  # an activation, written
    SCRATCH = "scratch"  # working memory, planned in the arena like an activation; contents undefined


@dataclass(frozen=True)
class Operand:
    name: str
    role: Role
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Kernel(ABC):
    """One operator at one shape. Subclasses add their parameters as fields."""

    @abstractmethod
    def operands(self) -> tuple[Operand, ...]:
        """Every pointer of the compiled function, in order: inputs, constants, outputs, then scratch."""

    @abstractmethod
    def reference(self, *arrays: Array) -> Array:
        """The output for the given inputs and constants (operand order), in numpy, exactly."""

    @abstractmethod
    def build(self, name: str) -> Any:
        """The scheduled TIR PrimFunc, with `name` as its global symbol and one buffer a operand."""

    @abstractmethod
    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Inputs and constants for one call of `reference`, extremes included."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call, 0 where the operator has none."""
        return 0

    @property
    def in_place(self) -> bool:
        """Whether the output may overwrite the first input: each element is read before its place is written."""
        return False

    @property
    def content(self) -> str:
        """All that `build` depends on besides this file, for caches: equal kernels have equal content."""
        return repr(self)

    @property
    def header(self) -> str | None:
        """The C header in `backends/cortex_m/c/` whose functions the PrimFunc calls; such a kernel has no LLVM
        route."""
        return None

    def roles(self, *roles: Role) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands() if operand.role in roles)


class Special(NamedTuple):
    """A kernel that computes the same as another one, and its constants in operand order."""

    kernel: Kernel
    constants: tuple[Array, ...]


def activation(name: str, shape: tuple[int, ...], dtype: str = "int8") -> Operand:
    return Operand(name, Role.INPUT, shape, dtype)


def constant(name: str, shape: tuple[int, ...], dtype: str) -> Operand:
    return Operand(name, Role.CONSTANT, shape, dtype)


def output(name: str, shape: tuple[int, ...], dtype: str = "int8") -> Operand:
    return Operand(name, Role.OUTPUT, shape, dtype)


def scratch(name: str, shape: tuple[int, ...], dtype: str) -> Operand:
    return Operand(name, Role.SCRATCH, shape, dtype)
