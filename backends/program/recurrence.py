"""What LSTM, GRU and RNN have in common as operators: a loop over time, two products, gates that are straight lines.

The definition of a step is `bevel.calib.arithmetic.recurrent`'s.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np

from bevel.backends.program.examples import random_values
from bevel.backends.program.op import Array, Op, Operand, activation, constant, exact_type, output, scratch, stored
from bevel.calib.arithmetic.gate_functions import GateFunction
from bevel.calib.arithmetic.piecewise import Piecewise
from bevel.calib.arithmetic.recurrent import Lines, gate_inputs, lines_of
from bevel.calib.arithmetic.requantize import Output, requantize

INT16 = (-(2**15), 2**15 - 1)


class Curve(NamedTuple):
    """The shape of a gate's function as straight lines (`bevel.calib.arithmetic.piecewise`)."""

    block: int
    fraction: int
    segments: int

    @staticmethod
    def of(pieces: Piecewise) -> Curve:
        return Curve(pieces.block, pieces.fraction, len(pieces.ends))

    def operands(self, name: str) -> tuple[Operand, Operand]:
        blocks = constant(f"{name}_blocks", (2 ** (16 - self.block),), "uint16")
        return blocks, constant(f"{name}_ends", (self.segments, 2), "int16")

    def lines(self, blocks: Array, ends: Array) -> Lines:
        return Lines(Piecewise(self.block, self.fraction, blocks, ends, 0.0), 1.0)


@dataclass(frozen=True)
class Walk:
    """x: x_dtype [steps, batch, inputs], walked from its end where `backward`. given: whether initial states are; else
    they are zeros. sums: the type that holds every sum of a row."""

    steps: int
    batch: int
    inputs: int
    hidden: int
    backward: bool = False
    given: bool = False
    x_dtype: str = "int8"
    w_dtype: str = "int8"
    r_dtype: str = "int8"
    sums: str = "int32"


@dataclass(frozen=True)
class Answer:
    """How the state of each step is stored: (h * multiplier + half) >> shift; `same`: h as it is."""

    multiplier: int
    shift: int
    output: Output

    @property
    def same(self) -> bool:
        whole = (self.output.zero_point, self.output.low, self.output.high, self.output.dtype) == (0, *INT16, "int16")
        return whole and self.multiplier == 1 << self.shift

    def of(self, h: Array) -> Array:
        return requantize(h, np.array(self.multiplier), np.array(self.shift), self.output)


@dataclass(frozen=True)
class Recurrence(Op):
    """Operands: x, initial states where they are given; w [rows, inputs], r [rows, hidden], their factors int32 [rows],
    bias int64 [rows], further constants, the curves; then y [steps, batch, hidden] where `answer` says how, the last h
    and, of an LSTM, the last c, int16 [batch, hidden]."""

    walk: Walk
    answer: Answer | None
    shift: int

    @property
    @abstractmethod
    def gates(self) -> int:
        """Rows for each unit."""

    @property
    @abstractmethod
    def states(self) -> tuple[str, ...]:
        """Names of what is kept from step to step."""

    @abstractmethod
    def curves(self) -> dict[str, Curve]:
        """Of its functions, by name."""

    def more_constants(self) -> tuple[Operand, ...]:
        return ()

    def more_scratch(self) -> tuple[Operand, ...]:
        return ()

    @property
    def rows(self) -> int:
        return self.gates * self.walk.hidden

    def weights(self) -> tuple[Operand, ...]:
        one, rows = self.walk, self.rows
        return constant("w", (rows, one.inputs), one.w_dtype), constant("r", (rows, one.hidden), one.r_dtype)

    def operands(self) -> tuple[Operand, ...]:
        one, rows = self.walk, self.rows
        kept = (one.batch, one.hidden)
        factors = (constant("w_factor", (rows,), "int32"), constant("r_factor", (rows,), "int32"))
        curves = [operand for name, curve in self.curves().items() for operand in curve.operands(name)]
        y = () if self.answer is None else (stored("y", (one.steps, *kept), self.answer.output),)
        return (
            activation("x", (one.steps, one.batch, one.inputs), one.x_dtype),
            *(activation(f"{name}0", kept, "int16") for name in self.states if one.given),
            *self.weights(),
            *factors,
            constant("bias", (rows,), "int64"),
            *self.more_constants(),
            *curves,
            *y,
            *(output(name, kept, "int16") for name in self.states),
            scratch("sums", (2, rows), one.sums),
            *self.more_scratch(),
        )

    @property
    def macs(self) -> int:
        one = self.walk
        return one.steps * one.batch * self.rows * (one.inputs + one.hidden)

    @property
    def besides(self) -> int:
        """Values of the gates' functions."""
        return self.walk.steps * self.walk.batch * self.rows

    def named(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Inputs and constants by name; zeros for initial states that are not given."""
        one, operands = self.walk, [operand.name for operand in self.operands()]
        zeros = {f"{name}0": np.zeros((one.batch, one.hidden), np.int16) for name in self.states}
        return zeros | dict(zip(operands, arrays, strict=False))

    def lines(self, given: dict[str, Array]) -> list[Lines]:
        return [curve.lines(given[f"{name}_blocks"], given[f"{name}_ends"]) for name, curve in self.curves().items()]

    def times(self) -> range:
        return range(self.walk.steps)[:: -1 if self.walk.backward else 1]

    def reference(self, *arrays: Array) -> Array:
        return self.results(*arrays)[0]

    def results(self, *arrays: Array) -> tuple[Array, ...]:
        given = self.named(arrays)
        lines, kept = self.lines(given), [given[f"{name}0"].astype(np.int64) for name in self.states]
        of_x = product(given["x"], given["w"])
        y = np.zeros((self.walk.steps, *kept[0].shape), np.int64)
        for time in self.times():
            kept = list(self.step(of_x[time], kept, given, lines))
            y[time] = kept[0]
        answered = () if self.answer is None else (self.answer.of(y),)
        return (*answered, *(one.astype(np.int16) for one in kept))

    @abstractmethod
    def step(
        self, of_x: Array, kept: Sequence[Array], given: dict[str, Array], lines: Sequence[Lines]
    ) -> Sequence[Array]:
        """The states behind a step, from the sums of x [batch, rows] and the states before it."""

    def gate_inputs(self, of_x: Array, of_h: Array, given: dict[str, Array], rows: slice = slice(None)) -> Array:
        w_factor, r_factor, bias = (given[name][rows] for name in ("w_factor", "r_factor", "bias"))
        return gate_inputs(of_x[..., rows], of_h, w_factor, r_factor, bias)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """The first rows have the largest weights; factors spread sums over what the functions take."""
        return tuple(
            self.example_of(operand, rng) for operand in self.operands() if operand.role.value in ("input", "constant")
        )

    def example_of(self, operand: Operand, rng: np.random.Generator) -> Array:
        one = self.walk
        kind, _, part = operand.name.rpartition("_")
        if part in ("blocks", "ends"):
            pieces = example_lines()[self.curves()[kind]].pieces
            return pieces.blocks if part == "blocks" else pieces.ends
        if part == "factor":
            terms, dtype, other = {
                "w": (one.inputs, one.x_dtype, one.w_dtype),
                "r": (one.hidden, "int16", one.r_dtype),
            }[kind]
            spread = np.sqrt(terms / 9.0) * np.iinfo(dtype).max * np.iinfo(other).max
            ratios = rng.uniform(0.2, 1.0, operand.shape) * 2.0**14 / spread
            return np.asarray(np.minimum(np.rint(ratios * 2.0**self.shift), 2**31 - 1), np.int32)
        if operand.name in ("w", "r"):
            values = random_values(rng, operand.shape, operand.dtype)
            values = np.maximum(values, -np.iinfo(operand.dtype).max)
            values[0] = np.iinfo(operand.dtype).max
            return np.asarray(values)
        if operand.dtype == "int64":
            return np.asarray(rng.integers(-(2**13), 2**13, operand.shape) << self.shift)
        return random_values(rng, operand.shape, operand.dtype)


def product(x: Array, weights: Array) -> Array:
    """x [..., k] by weights [rows, k], exactly: int64 [..., rows]."""
    dtype = exact_type(weights.shape[1], x, weights)
    return np.asarray((x.astype(dtype) @ weights.astype(dtype).T).astype(np.int64))


@cache  # and not made when the module is imported: fitting the lines takes a third of a second
def example_lines() -> dict[Curve, Lines]:
    """Of a gate, of what a gate takes a share of, and of a cell on its way out."""
    functions = (("Sigmoid", 16), ("Tanh", 8), ("Tanh", 3))
    found = (lines_of(GateFunction(name), reach / 2**15) for name, reach in functions)
    return {Curve.of(one.pieces): one for one in found}


def walks() -> Iterator[tuple[Walk, Answer | None]]:
    """One step of one unit; batches, both ways, initial states, every width, with and without each step's answer."""
    int8 = Answer(2**30, 38, Output(3))
    yield Walk(1, 1, 1, 1), None
    yield Walk(5, 1, 3, 4), int8
    yield Walk(4, 2, 7, 5, backward=True, given=True), Answer(1 << 20, 20, Output(0, *INT16, "int16"))
    yield Walk(3, 1, 17, 12, x_dtype="int16"), replace(int8, output=Output(-128, -100, 90))
    yield Walk(3, 2, 6, 9, given=True, w_dtype="int16", r_dtype="int16", sums="int64"), int8
