"""What an operator is: one operator at one shape, with its reference and its test cases; nothing of any machine.

An operator is a frozen dataclass in `backends/program/ops/<operator>.py`; its fields are everything that is fixed when
code is generated for it (shapes, strides, zero points). Its operands are pointers, in the order of `operands`. Loops
for it are elsewhere: plain ones in `backends/tir/kernels/<operator>.py`, those of a machine in a `Kernel`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.requantize import Output

if TYPE_CHECKING:
    from bevel.backends.program.bands import Banding, Laid

Array = NDArray[Any]
Bounds = tuple[int, int]  # the lowest and the highest of some integers
INT4 = "int4"  # no type of numpy's: codes of -8 to 7 that lie two to a byte (`bevel.backends.encodings.nibbles`)


class Role(Enum):
    INPUT = "input"  # an activation, read
    CONSTANT = "constant"  # weights and parameters, read from flash
    OUTPUT = "output"  # an activation, written
    STATE = "state"  # memory that is read and written, and stays from one run to the next; zeros in the beginning
    SCRATCH = "scratch"  # working memory, planned in the arena like an activation; contents undefined


@dataclass(frozen=True)
class Operand:
    """`bounds`: what its integers lie in, where that is less than all that the type holds."""

    name: str
    role: Role
    shape: tuple[int, ...]
    dtype: str
    bounds: Bounds | None = None

    @property
    def known(self) -> Bounds | None:
        """What its integers lie in; None of floats."""
        return self.bounds or of_type(self.dtype)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Op(ABC):
    """One operator at one shape. Subclasses add their parameters as fields."""

    @abstractmethod
    def operands(self) -> tuple[Operand, ...]:
        """Every pointer of the compiled function, in order: inputs, constants, outputs, states, then scratch."""

    @abstractmethod
    def reference(self, *arrays: Array) -> Array:
        """The output for the given inputs, constants and states (operand order), in numpy, exactly; of several
        outputs the first."""

    def results(self, *arrays: Array) -> tuple[Array, ...]:
        """Every output for the arrays of `reference`, then every state as it is afterwards.

        An operator with several outputs, or with states, says here what they are.
        """
        return (self.reference(*arrays),)

    @abstractmethod
    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """Inputs, constants and states for one call of `reference`, extremes included."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call, 0 where the operator has none."""
        return 0

    @property
    def besides(self) -> int:
        """What one call does beside multiplying, reading and writing, where that takes as much: values of functions
        between its products, elements that it lays out anew."""
        return 0

    @property
    def in_place(self) -> bool:
        """Whether the output may overwrite the first input: each element is read before its place is written."""
        return False

    @property
    def any_codes(self) -> bool:
        """Whether inputs may hold any of the integers that their operands state, in any combination."""
        return True

    @property
    def overwriting(self) -> Op:
        """The operator where its output does lie on the first input, and it has less to do then."""
        return self

    @property
    def exact(self) -> bool:
        """Whether every machine computes just what `reference` does, which floats do not promise."""
        return True

    @property
    def stock(self) -> bool:
        """Whether onnxruntime computes just what `reference` does, which sums of floats do not promise."""
        return self.exact

    @property
    def content(self) -> str:
        """All that code for it depends on besides our sources, for caches: equal operators have equal content."""
        return repr(self)

    def bounds(self, inputs: Sequence[Bounds | None], constants: Sequence[Array]) -> Bounds | None:
        """What the integers of the output, or the first, lie in, given those of the inputs and the constants; None of
        floats.

        Here: what the output's operand states, else all that its type holds.
        """
        return self.roles(Role.OUTPUT)[0].known

    def banding(self, laid: Laid) -> Banding | None:
        """How a call can be computed in bands of its output's rows (`bevel.backends.program.bands`); here: not."""
        return None

    def roles(self, *roles: Role) -> tuple[Operand, ...]:
        return tuple(operand for operand in self.operands() if operand.role in roles)


def activation(name: str, shape: tuple[int, ...], dtype: str = "int8") -> Operand:
    return Operand(name, Role.INPUT, shape, dtype)


def constant(name: str, shape: tuple[int, ...], dtype: str) -> Operand:
    return Operand(name, Role.CONSTANT, shape, dtype)


def output(name: str, shape: tuple[int, ...], dtype: str = "int8") -> Operand:
    return Operand(name, Role.OUTPUT, shape, dtype)


def stored(name: str, shape: tuple[int, ...], clamp: Output) -> Operand:
    """An output that `clamp` stores."""
    return Operand(name, Role.OUTPUT, shape, clamp.dtype, (clamp.low, clamp.high))


def state(name: str, shape: tuple[int, ...], dtype: str) -> Operand:
    return Operand(name, Role.STATE, shape, dtype)


def scratch(name: str, shape: tuple[int, ...], dtype: str) -> Operand:
    return Operand(name, Role.SCRATCH, shape, dtype)


def accumulator(*dtypes: str) -> str:
    """The type that sums are made in: int32 of int8 to int8, int64 where any of them is wider."""
    return "int32" if set(dtypes) == {"int8"} else "int64"


def exact_type(terms: int, a: Array, b: Array) -> type[np.float64 | np.int64]:
    """The type in which so many products of their elements add up exactly: float64 below 2**53, as numpy is much faster
    with it, else int64."""
    a_reach, b_reach = (max(-int(one.min(initial=0)), int(one.max(initial=0))) for one in (a, b))
    return np.float64 if terms * a_reach * b_reach < 2**53 else np.int64


def joined(bounds: Sequence[Bounds | None]) -> Bounds | None:
    """What elements of any of these lie in; None where one of them is unknown."""
    known = [one for one in bounds if one is not None]
    return (
        (min(low for low, _ in known), max(high for _, high in known)) if known and len(known) == len(bounds) else None
    )


def of_values(array: Array) -> Bounds | None:
    """What the elements lie in; None of none, and of floats."""
    return (int(array.min()), int(array.max())) if array.size and array.dtype.kind in "iu" else None


def of_type(dtype: str) -> Bounds | None:
    """All that an integer type holds; None of other types."""
    if dtype == INT4:
        return -8, 7
    if np.dtype(dtype).kind not in "iu":
        return None
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
