"""The loops of a product as a schedule of TVM's: what is unrolled stands side by side, the rest are counters.

    for window, nf, kx, cf, kyg:                    serial: counters, in this order
        for pe, ky, c: unrolled                     PE x SIMD multipliers
            acc[window, nf * PE + pe] += x[window, ...] * w[nf * PE + pe, ...]

What a weight memory holds in each word, and in which order a window's elements must come, is not written down a second
time: it is read off the scheduled TIR, by evaluating its index expressions over all values of the loops at once. The
same scheduled function, compiled by LLVM, computes the sums that the module must have (the tests do that).

What comes behind the sums, one rescaling, is not in the nest: its definition is `bevel.calib.arithmetic.requantize`,
and `requantizer.py` makes that into registers directly. Nor are moves, sums of streams, pools and tables: their order
is that of memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bevel.backends.tir.lazy import loaded, te

Places = NDArray[np.int64]


@dataclass(frozen=True)
class ProductShape:
    """What is multiplied: `windows` of kernel x channels_in elements by channels_out rows of them; where `depthwise`,
    each channel has its own."""

    windows: int
    kernel: tuple[int, int]
    channels_in: int
    channels_out: int
    depthwise: bool = False

    @property
    def taps(self) -> int:
        """Products of a sum."""
        return prod(self.kernel) * (1 if self.depthwise else self.channels_in)


@dataclass(frozen=True)
class Unrolled:
    """What is unrolled: `outputs` channels of the result, and of the sum `rows` of the kernel and `channels` of it."""

    outputs: int
    rows: int
    channels: int


class NestLoop(NamedTuple):
    name: str
    extent: int
    unrolled: bool


@dataclass(frozen=True)
class Order:
    """weights: places in the flat weights, [words, lanes]; elements: in a flat window, [beats of a window, lanes]."""

    weights: Places
    elements: Places


class NestError(ValueError):
    """A nest that the modules do not express: our bug."""


def scheduled(shape: ProductShape, factors: Unrolled) -> Any:
    """The nest as a scheduled module of TIR: buffers x int8 [windows, kh, kw, Cin], w int8 [Cout, kh, kw, Cin] (without
    the last axis where depthwise), acc int32 [windows, Cout]."""
    (kh, kw), c = shape.kernel, shape.channels_in
    x = te.placeholder((shape.windows, kh, kw, c), "int8", name="x")
    w = te.placeholder((shape.channels_out, kh, kw, *(() if shape.depthwise else (c,))), "int8", name="w")
    ky, kx = te.reduce_axis((0, kh), name="ky"), te.reduce_axis((0, kw), name="kx")
    if shape.depthwise:
        acc = te.compute(
            (shape.windows, c),
            lambda v, n: te.sum(x[v, ky, kx, n].astype("int32") * w[n, ky, kx].astype("int32"), axis=[ky, kx]),
            name="acc",
        )
    else:
        k = te.reduce_axis((0, c), name="c")
        acc = te.compute(
            (shape.windows, shape.channels_out),
            lambda v, n: te.sum(x[v, ky, kx, k].astype("int32") * w[n, ky, kx, k].astype("int32"), axis=[ky, kx, k]),
            name="acc",
        )
    tvm = loaded("tvm")
    schedule = tvm.s_tir.Schedule(tvm.IRModule({"main": te.create_prim_func([x, w, acc])}))
    loops = schedule.get_loops(schedule.get_sblock("acc"))
    window, n, ky_, kx_ = loops[:4]
    nf, pe = schedule.split(n, [None, factors.outputs])
    kyg, kyl = schedule.split(ky_, [None, factors.rows])
    if shape.depthwise:
        schedule.reorder(window, nf, kx_, kyg, kyl, pe)
        unrolled = [kyl, pe]
    else:
        cf, cs = schedule.split(loops[4], [None, factors.channels])
        schedule.reorder(window, nf, kx_, cf, kyg, pe, kyl, cs)
        unrolled = [pe, kyl, cs]
    for loop in unrolled:
        schedule.unroll(loop)
    return schedule.mod


@cache
def order(shape: ProductShape, factors: Unrolled) -> Order:
    """What the scheduled nest of one window reads. Raises NestError for a nest that is no chain of loops around one
    multiplication."""
    one = ProductShape(1, shape.kernel, shape.channels_in, shape.channels_out, shape.depthwise)
    loops, realized = innermost(scheduled(one, factors)["main"].body)
    names = [loop.name for loop in loops]
    if [loop.unrolled for loop in loops] != sorted(loop.unrolled for loop in loops):
        raise NestError(f"loops {names}: unrolled ones must be the inner ones")
    values = {loop.name: spread(place, loops) for place, loop in enumerate(loops)}
    block = realized.block
    bound = zip(block.iter_vars, realized.iter_values, strict=True)
    axes = {str(axis.var.name): evaluated(value, values) for axis, value in bound}
    read = {str(load.source.name): placed(load, axes) for load in loads(block.body.value)}
    extents = [loop.extent for loop in loops]
    words = prod(loop.extent for loop in loops if not loop.unrolled)
    weights = np.broadcast_to(read["w"], extents).reshape(words, -1)
    elements = np.broadcast_to(read["x"], extents)
    if not shape.depthwise:  # windows are read again for each group of outputs; outputs beside each other share them
        fixed = tuple(0 if name in across(loops, block, realized) else slice(None) for name in names)
        elements = elements[fixed]
    return Order(weights, elements.reshape(-1, beat(shape, factors)))


def beat(shape: ProductShape, factors: Unrolled) -> int:
    return factors.outputs * factors.rows if shape.depthwise else factors.rows * factors.channels


def across(loops: Sequence[NestLoop], block: Any, realized: Any) -> set[str]:
    """The loops over outputs: those that the block's second axis is made of."""
    return {str(var) for var in variables(realized.iter_values[1])} & {loop.name for loop in loops}


def innermost(statement: Any) -> tuple[list[NestLoop], Any]:
    """The loops around the block that multiplies, outermost first, and the block."""
    loops: list[NestLoop] = []
    while True:
        match type(statement).__name__:
            case "For":
                loops.append(NestLoop(str(statement.loop_var.name), int(statement.extent), int(statement.kind) == 3))
                statement = statement.body
            case "SBlockRealize" if len(statement.block.iter_vars):
                return loops, statement
            case "SBlockRealize":
                statement = statement.block.body
            case other:
                raise NestError(f"a {other} stands around the multiplication")


def spread(place: int, loops: Sequence[NestLoop]) -> Places:
    """The values of a loop along its own axis of all loops."""
    lengths = [1] * len(loops)
    lengths[place] = loops[place].extent
    return np.arange(loops[place].extent, dtype=np.int64).reshape(lengths)


def evaluated(expression: Any, values: Mapping[str, Places]) -> Places:
    """An index expression for all values of its variables."""
    match type(expression).__name__:
        case "Var":
            return values[str(expression.name)]
        case "IntImm":
            return np.array(int(expression.value), np.int64)
        case "Cast":
            return evaluated(expression.value, values)
        case "Add":
            return evaluated(expression.a, values) + evaluated(expression.b, values)
        case "Sub":
            return evaluated(expression.a, values) - evaluated(expression.b, values)
        case "Mul":
            return evaluated(expression.a, values) * evaluated(expression.b, values)
        case "FloorDiv":
            return evaluated(expression.a, values) // evaluated(expression.b, values)
        case "FloorMod":
            return evaluated(expression.a, values) % evaluated(expression.b, values)
        case other:
            raise NestError(f"an index holds a {other}: {expression}")


def variables(expression: Any) -> list[str]:
    if type(expression).__name__ == "Var":
        return [str(expression.name)]
    parts = [getattr(expression, name, None) for name in ("a", "b", "value")]
    return [name for part in parts if part is not None and not isinstance(part, int) for name in variables(part)]


def loads(expression: Any) -> list[Any]:
    """What a sum of products reads, but for the sum itself."""
    name = type(expression).__name__
    if name in ("BufferLoad", "TensorLoad"):
        return [] if str(expression.source.name) == "acc" else [expression]
    if name == "Cast":
        return loads(expression.value)
    return [*loads(expression.a), *loads(expression.b)]


def placed(load: Any, axes: Mapping[str, Places]) -> Places:
    """Where in its flat buffer a load reads."""
    place: Places = np.array(0, np.int64)
    for index, length in zip(load.indices, load.source.shape, strict=True):
        place = place * int(length) + evaluated(index, axes)
    return place
