"""MatMul of two activations: y = requantize(sum((a - a_zero_point) * (b - b_zero_point))), batched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import as_strided

from bevel.backends.encodings.nibbles import EACH, pack_nibbles, unpack_nibbles
from bevel.backends.program.examples import random_values
from bevel.backends.program.op import INT4, Array, Op, Operand, activation, exact_type, of_type, stored
from bevel.calib.arithmetic.requantize import Output, fixed_point, requantize

INT32_LIMIT = 2**31
Strides = tuple[int, ...]
Counted = Literal["columns", "terms"]


@dataclass(frozen=True)
class MatMul(Op):
    """a [*batch, m, k] and b [*batch, k, n] make y [*batch, m, n], each where its strides, in elements, say.

    A matrix that lies transposed, and one that is the same in all of a batch (stride 0), are read as they lie. y fills
    its buffer. Sums are int32 where none can reach 2**31, else int64; |sum * multiplier| stays below 2**62. largest:
    what no partial sum's magnitude passes, where the integers are less than their types hold: a row of shares sums to
    1, codes of 12 bits are small. b_dtype: int4, too, two codes to a byte of uint8.

    counted: what of the product there is, as it comes in, int32 [1], 1 at least: so many columns, the others of y being
    0, its zero point; or so many terms of each sum, as the others' factors in a are 0.
    """

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    a_strides: Strides
    b_strides: Strides
    y_strides: Strides
    a_zero_point: int
    b_zero_point: int
    multiplier: int
    shift: int
    output: Output
    a_dtype: str = "int8"
    b_dtype: str = "int8"
    largest: int | None = None
    counted: Counted | None = None

    @property
    def a_shape(self) -> tuple[int, ...]:
        return (*self.batch, self.m, self.k)

    @property
    def b_shape(self) -> tuple[int, ...]:
        return (*self.batch, self.k, self.n)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (*self.batch, self.m, self.n)

    @property
    def reach(self) -> int:
        """What no partial sum's magnitude passes."""
        of_types = self.k * distance(self.a_dtype, self.a_zero_point) * distance(self.b_dtype, self.b_zero_point)
        return of_types if self.largest is None else min(self.largest, of_types)

    @property
    def any_codes(self) -> bool:
        return self.largest is None and self.counted is None

    @property
    def sum_dtype(self) -> str:
        return "int32" if self.reach < INT32_LIMIT else "int64"

    def operands(self) -> tuple[Operand, ...]:
        return (
            activation("a", (extent(self.a_shape, self.a_strides),), self.a_dtype),
            self.b_operand,
            *((activation("kept", (1,), "int32"),) if self.counted else ()),
            stored("y", (extent(self.y_shape, self.y_strides),), self.output),
        )

    @property
    def packed(self) -> bool:
        """Whether b lies two codes to a byte."""
        return self.b_dtype == INT4

    @property
    def b_operand(self) -> Operand:
        size = extent(self.b_shape, self.b_strides)
        return activation("b", (-(-size // EACH),), "uint8") if self.packed else activation("b", (size,), self.b_dtype)

    def b_matrices(self, given: Array) -> Array:
        """b's codes [*batch, k, n] in what the operand holds: a view, where they are not packed."""
        size = extent(self.b_shape, self.b_strides)
        return laid(unpack_nibbles(given, size) if self.packed else given, self.b_shape, self.b_strides)

    @property
    def macs(self) -> int:
        return prod(self.batch) * self.m * self.k * self.n

    def reference(self, *arrays: Array) -> Array:
        a = laid(arrays[0], self.a_shape, self.a_strides).astype(np.int64) - self.a_zero_point
        b = self.b_matrices(arrays[1]).astype(np.int64) - self.b_zero_point
        if self.counted == "columns":
            b[..., int(arrays[2][0]) :] = 0
        elif self.counted == "terms":
            b[..., int(arrays[2][0]) :, :] = 0
        dtype = exact_type(self.k, a, b)
        sums = (a.astype(dtype) @ b.astype(dtype)).astype(np.int64)
        y = np.zeros(prod(self.y_shape), self.output.dtype)
        place = laid(y, self.y_shape, self.y_strides)
        place[...] = requantize(sums, np.array(self.multiplier), np.array(self.shift), self.output)
        return y

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """The first rows and columns are the farthest from their zero points: the largest sums there are."""
        a, b = (random_values(rng, operand.shape, operand.dtype) for operand in self.operands()[:2])
        b = unpack_nibbles(b, extent(self.b_shape, self.b_strides)) if self.packed else b
        laid(a, self.a_shape, self.a_strides)[..., 0, :] = farthest(self.a_dtype, self.a_zero_point)
        laid(b, self.b_shape, self.b_strides)[..., 0] = farthest(self.b_dtype, self.b_zero_point)
        b = pack_nibbles(b) if self.packed else b
        if self.largest is not None:
            steps = np.abs(self.b_matrices(b).astype(np.int64) - self.b_zero_point).max()
            rows = np.abs(laid(a, self.a_shape, self.a_strides).astype(np.int64) - self.a_zero_point).sum(axis=-1)
            finer = -(-int(rows.max() * steps) // self.largest)
            a = (self.a_zero_point + (a.astype(np.int64) - self.a_zero_point) // finer).astype(a.dtype)
        if self.counted is None:
            return a, b
        kept = rng.integers(1, (self.n if self.counted == "columns" else self.k) + 1, 1, dtype=np.int32)
        if self.counted == "terms":
            laid(a, self.a_shape, self.a_strides)[..., int(kept[0]) :] = self.a_zero_point
        return a, b, kept


def extent(shape: tuple[int, ...], strides: Strides) -> int:
    """How many elements lie from the first to the last of them."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def laid(flat: Array, shape: tuple[int, ...], strides: Strides) -> Array:
    """A view of elements that lie `strides` apart."""
    return as_strided(flat, shape, tuple(stride * flat.itemsize for stride in strides))


def farthest(dtype: str, zero_point: int) -> int:
    limits = of_type(dtype)
    assert limits is not None, f"{dtype} is no type of integers"
    return max(limits, key=lambda code: abs(code - zero_point))


def distance(dtype: str, zero_point: int) -> int:
    """The largest |q - zero_point|."""
    return abs(farthest(dtype, zero_point) - zero_point)


def dense(*shape: int) -> Strides:
    """The strides of an array in its own order."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def heads(tokens: int, count: int, width: int) -> Strides:
    """Of the matrices [count, tokens, width] in an array [tokens, count, width]."""
    return (width, count * width, 1)


def turned(strides: Strides) -> Strides:
    """Of the same matrices, transposed."""
    return (*strides[:-2], strides[-1], strides[-2])


def product(batch: tuple[int, ...], m: int, k: int, n: int, ratio: float, **changes: Any) -> MatMul:
    """In arrays of their own order, with zero points of 0, int8 throughout, but for the changes."""
    strides = {"a_strides": dense(*batch, m, k), "b_strides": dense(*batch, k, n), "y_strides": dense(*batch, m, n)}
    given: dict[str, Any] = strides | {"a_zero_point": 0, "b_zero_point": 0, "output": Output()} | changes
    multiplier, shift = fixed_point(ratio, given.pop("bits", 30))
    return MatMul(batch, m, k, n, multiplier=multiplier, shift=shift, **given)


def cases() -> Iterable[MatMul]:
    """Heads side by side, transposed and broadcast operands, every pair of widths, and sums of both."""
    int16 = Output(-300, -(2**15), 2**15 - 1, "int16")

    yield product((), 1, 1, 1, 0.004)
    yield product((), 3, 17, 5, 0.001, a_zero_point=-128, b_zero_point=127, output=Output(127))
    q, k = heads(9, 3, 8), turned(heads(9, 3, 8))
    yield product((3,), 9, 8, 9, 0.002, a_strides=q, b_strides=k, a_zero_point=5, b_zero_point=-3)
    wide: dict[str, Any] = {"a_strides": q, "b_strides": k, "a_zero_point": 5, "b_zero_point": -3, "output": int16}
    yield product((3,), 9, 8, 9, 0.3, **wide)
    v, y = heads(9, 3, 8), heads(9, 3, 8)
    yield product((3,), 9, 9, 8, 0.001, b_strides=v, y_strides=y, a_zero_point=-128, b_zero_point=7)
    shares: dict[str, Any] = {"a_dtype": "int16", "a_zero_point": -(2**15), "b_zero_point": 7}
    shares |= {"b_strides": v, "y_strides": y}
    yield product((3,), 9, 9, 8, 2.0**-17, **shares)
    yield product((3,), 9, 9, 8, 2.0**-13, **(shares | {"output": int16}))
    yield product((2,), 3, 5, 4, 2.0**-18, b_dtype="int16", b_zero_point=11, b_strides=(0, 4, 1))
    wide = {"a_dtype": "int16", "b_dtype": "int16", "a_zero_point": 300, "bits": 20}
    yield product((2, 2), 3, 70, 5, 2.0**-26, **wide, a_strides=(0, 210, 70, 1))
    many = {"a_dtype": "int16", "a_zero_point": -(2**15), "b_zero_point": 7, "largest": 2**16 * 136}
    yield product((), 3, 200, 5, 2.0**-17, **many)
    yield product((2,), 3, 70, 5, 2.0**-13, **(many | {"b_dtype": "int16", "largest": 2**28, "output": int16}))
    small: dict[str, Any] = {"a_dtype": "int16", "b_dtype": "int16", "a_zero_point": 300, "b_zero_point": -70}
    yield product((3,), 9, 8, 9, 2.0**-9, **small, a_strides=q, b_strides=k, output=int16, largest=2**26)
    yield product((), 5, 21, 6, 2.0**-20, **small, largest=2**26)
    yield product((), 2, 7, 6, 1.9, output=Output(3, -20, 90))
    yield product((), 5, 33, 7, 2.0**-9, a_strides=(1, 5), b_strides=(1, 33), y_strides=(1, 5))
    for counted, ordered in (("columns", (9, 1)), ("columns", (1, 23)), ("terms", (9, 1)), ("terms", (1, 23))):
        for b_dtype in ("int8", "int16", INT4):
            given: dict[str, Any] = {"b_dtype": b_dtype, "b_strides": ordered, "counted": counted, "a_zero_point": 30}
            given |= {"a_dtype": "int16", "b_zero_point": 4, "largest": 2**26, "output": int16}
            yield product((), 1, 23, 9, 2.0**-9, **given)
    yield product((2,), 3, 70, 41, 0.001, a_zero_point=-128, b_zero_point=3, counted="terms")
    yield product((2,), 3, 7, 41, 0.01, a_zero_point=5, b_zero_point=3, counted="columns", output=Output(-9, -50, 90))
    for terms, columns in ((8, 7), (12, 9), (19, 4), (3, 6)):  # rows and columns of whole bytes, and others
        nibbles: dict[str, Any] = {"a_zero_point": 5, "b_zero_point": -3, "b_dtype": INT4}
        for strides in ((columns + columns % 2, 1), (1, terms + terms % 2), (columns, 1)):
            yield product((), 2, terms, columns, 0.002, **nibbles, b_strides=strides)
    shared: dict[str, Any] = {"a_zero_point": -(2**15), "a_dtype": "int16", "b_dtype": INT4, "largest": 2**24}
    yield product((2, 3), 1, 11, 8, 2.0**-15, **shared, b_strides=(8, 0, 16, 1), counted="terms")
