"""Calls whose kernels' rates are measured: shapes as common networks have them, small to large, so that each kernel of
each machine has some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bevel.backends.devices.base import Vectors
from bevel.backends.encodings.coded import Coding
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.coded_conv import CodedConv, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.gru import Gru
from bevel.backends.program.ops.gru import cases as grus
from bevel.backends.program.ops.lstm import Lstm
from bevel.backends.program.ops.lstm import cases as lstms
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.normalize import Loop, Normalize
from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.ops.shift_mat_mul import shifted
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.ops.table import WideTable
from bevel.backends.program.ops.walsh_hadamard import ButterflyBlock, WalshHadamard
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.recurrence import Walk
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE

WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "int8": tuple(range(-127, 128)),
    "int4": tuple(range(-8, 8)),
    "int2": tuple(range(-2, 2)),
    "e2m1": (-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12),
    "binary": (-1, 1),
}
SIZES = ((16, 16), (8, 64), (12, 8))  # pixels along an axis, and channels
ROWS = ((65, 65), (16, 64), (4, 256))  # and elements of each
HELD = 80_000  # bytes of activations in one build
WORD = (-(2**15), 2**15 - 1)
ONE_BIT = (-128, -127)  # what activations beside binary weights are


@dataclass(frozen=True)
class Shape:
    """An operator, and what its first input is clamped to, where that is less than its type holds."""

    op: Op
    within: tuple[int, int] | None = None


def shapes(weights: str) -> Iterator[Shape]:
    """What has weights of a format; with int8, also what has none, or has no others."""
    yield from map(Shape, products())
    if weights == "binary":
        yield from (Shape(one, ONE_BIT) for one in products() if isinstance(one, Gemm) or one.groups == 1)
    if weights == "int8":
        yield from map(Shape, (*others(), *recurrent(), *coded(), *matrices()))


def products() -> Iterator[Conv | Gemm]:
    yield from (conv(16, (3, 16), 3), conv(16, (16, 16), 3), conv(16, (16, 32), 3, 2), conv(8, (32, 32), 3))
    yield from (conv(8, (64, 64), 1), conv(12, (32, 64), 1), conv(4, (64, 128), 1), conv(2, (128, 128), 1))
    yield from (conv(size, (n, n), 3, groups=n) for size, n in ((24, 16), (12, 32), (12, 64), (6, 64), (4, 128)))
    yield from (Gemm(rows, k, n, Output(3)) for rows, k, n in ((1, 64, 10), (1, 256, 64), (1, 640, 128), (4, 128, 64)))


def conv(size: int, channels: tuple[int, int], kernel: int, stride: int = 1, groups: int = 1) -> Conv:
    pads = (1, 1, 1, 1) if kernel == 3 else (0, 0, 0, 0)
    return Conv(1, size, size, *channels, (kernel,) * 2, (stride,) * 2, (1, 1), pads, groups, -5, Output(3))


def others() -> Iterator[Op]:
    whole = (0, 0, 0, 0)
    sums = [Add(shape, shape, shape, 1 << 14, 3 << 12, 0, 15, Output(3)) for shape in ((4096,), (512,))]
    yield from (*sums, *(replace(one, a_dtype="int16", b_dtype="int16") for one in sums))
    yield from (MaxPool(1, size, size, n, (2, 2), (2, 2), (1, 1), whole) for size, n in SIZES)
    yield from (AveragePool(1, size, size, n, (4, 4), (4, 4), whole, -5, Output(3)) for size, n in SIZES)
    yield from (ReduceMean(1, reduced, n, -5, 1 << 30, 38, Output(3)) for reduced, n in ((64, 64), (16, 128), (49, 16)))
    yield from (transform(rows, sizes) for rows, sizes in ((65, (64,)), (8, (256,)), (1, (128, 32, 12))))
    yield from (Softmax(rows, n, Output(-128)) for rows, n in ((1, 10), *ROWS))
    int16 = Output(-(2**15), *WORD, "int16")
    yield from (WideSoftmax(rows, n, FINE, 16, int16) for rows, n in ROWS)
    yield from (PowerSoftmax(rows, n, FINE) for rows, n in ROWS)
    for block, size in ((11, 4096), (8, 1024)):
        yield WideTable(size, segments=2 ** (16 - block), block=block, fraction=0, output=Output(0, *WORD, "int16"))
    for rows, n in ROWS:
        yield Normalize((Loop(rows, n, 0),), (Loop(n, 1, 1),), n, True, -5, 900, 51, Output(4), "int16")


def transform(rows: int, sizes: Sequence[int]) -> WalshHadamard:
    """Of blocks of powers of two, and of 12."""
    blocks = tuple(ButterflyBlock(size, 12 if size == 12 else 1, 1 << 30, 36) for size in sizes)
    return WalshHadamard(rows, blocks, -5, Output(3))


def matrices() -> Iterator[Op]:
    """Attention of 65 tokens and of 16, heads of 16 and 32; a decoder's one token, heads of 8, against 32 and 256."""
    for tokens, count, width in ((65, 4, 16), (16, 2, 32)):
        beside: dict[str, Any] = {"a_strides": mat_mul.heads(tokens, count, width)}
        turned = mat_mul.turned(mat_mul.heads(tokens, count, width))
        yield mat_mul.product((count,), tokens, width, tokens, 0.002, **beside, b_strides=turned)
        laid: dict[str, Any] = {"b_strides": mat_mul.heads(tokens, count, width)}
        laid |= {"y_strides": mat_mul.heads(tokens, count, width), "a_zero_point": -128}
        yield mat_mul.product((count,), tokens, tokens, width, 0.001, **laid)
        beside_result = laid | {"a_zero_point": 0}
        shares = laid | {"a_dtype": "int16", "a_zero_point": WORD[0], "largest": 2**16 * 128}
        yield mat_mul.product((count,), tokens, tokens, width, 2.0**-16, **shares)
        yield shifted((count,), tokens, tokens, width, 2.0**-15, **beside_result)
    for tokens in (32, 256):
        keys: dict[str, Any] = {"b_strides": (tokens * 8, 1, 8)}
        yield mat_mul.product((8,), 1, 8, tokens, 0.002, **keys)
        yield mat_mul.product((8,), 1, tokens, 8, 0.001, a_zero_point=-128)
    yield mat_mul.product((8,), 2, 8, 64, 0.002, b_strides=(64 * 8, 1, 8))
    yield mat_mul.product((8,), 2, 64, 8, 0.001, a_zero_point=-128)


def recurrent() -> Iterator[Op]:
    for first in (next(iter(lstms())), next(iter(grus()))):
        assert isinstance(first, Lstm | Gru)
        for steps, inputs, hidden in ((2, 16, 16), (2, 64, 64), (4, 40, 32)):
            yield replace(first, walk=Walk(steps, 1, inputs, hidden))


def coded() -> Iterator[Op]:
    """Integers that take more than a byte: of minifloats, of blocks with factors, of wide activations."""
    for plain in (conv(16, (16, 16), 3), conv(8, (32, 32), 3), conv(8, (64, 64), 1), conv(4, (64, 128), 1)):
        yield CodedConv(plain, Coding(8, "int16", tabled=True))
        yield CodedConv(plain, Coding(4, "int16", True, 16, 8))
    for plain in (conv(8, (32, 32), 3), of_gemm(65, 64, 64, Output(3)), of_gemm(1, 256, 64, Output(3))):
        yield CodedConv(plain, Coding(8, "int8"), "int16")


@dataclass(frozen=True)
class Workload:
    """Calls side by side that do not depend on each other, and one test of all of them."""

    program: Program
    vectors: Vectors

    def batches(self, nodes: Sequence[str]) -> Iterator[Workload]:
        """With these of its calls only, and what they read, as many at once as the smallest machines hold."""
        sizes = {
            call.node: sum(self.program.buffers[name].bytes for name in (*call.inputs, *call.outputs))
            for call in self.program.calls
        }
        batch: list[str] = []
        for node in nodes:
            if batch and sum(sizes[one] for one in (*batch, node)) > HELD:
                yield self.only(set(batch))
                batch = []
            batch.append(node)
        if batch:
            yield self.only(set(batch))

    def only(self, nodes: set[str]) -> Workload:
        """With some of its calls, and what those read."""
        read = {name for call in self.program.calls if call.node in nodes for name in call.inputs}
        kept = tuple(call for call in self.program.calls if call.node in nodes or call.output in read)
        return workload(self.program.name, kept, self.vectors.inputs)


def workload_of(weights: str) -> Workload:
    """Every shape, weights drawn of the values that a format has."""
    rng = np.random.default_rng(0)
    calls: list[Call] = []
    given: dict[str, Array] = {}
    for index, shape in enumerate(shapes(weights)):
        arrays = shape.op.example(rng)
        names = [f"x{index}_{place}" for place in range(len(shape.op.roles(Role.INPUT)))]
        constants = list(arrays[len(names) :])
        if isinstance(shape.op, Conv | Gemm):
            constants[0] = rng.choice(WEIGHTS[weights], constants[0].shape).astype(np.int8)
        given |= {name: array[np.newaxis] for name, array in zip(names, arrays, strict=False)}
        if shape.within is not None:
            clip = Clip(arrays[0].size, *shape.within)
            calls.append(Call(f"clip{index}", clip, (names[0],), (), f"clipped{index}"))
            names[0] = f"clipped{index}"
        first, *more = (f"y{index}_{place}" for place in range(len(shape.op.roles(Role.OUTPUT))))
        calls.append(Call(f"call{index}", shape.op, tuple(names), tuple(constants), first, more=tuple(more)))
    return workload("net", tuple(calls), given)


def workload(name: str, calls: tuple[Call, ...], given: Mapping[str, Array]) -> Workload:
    """The program of some calls, whose inputs are `given` where no call writes them."""
    written = {name for call in calls for name in call.outputs}
    read = {name for call in calls for name in call.inputs}
    buffers: dict[str, Buffer] = {}
    for call in calls:
        operands = call.kernel.roles(Role.INPUT, Role.OUTPUT)
        for buffer, operand in zip((*call.inputs, *call.outputs), operands, strict=True):
            buffers.setdefault(buffer, Buffer(buffer, operand.shape, operand.dtype))
    ports = {buffer: Port(buffer, buffer, one.shape, one.dtype) for buffer, one in buffers.items()}
    inputs = tuple(ports[buffer] for buffer in buffers if buffer not in written)
    outputs = tuple(ports[buffer] for buffer in buffers if buffer in written - read)
    program = Program(name, inputs, outputs, buffers, calls)
    drawn = {port.name: given[port.name].reshape(1, *port.shape) for port in inputs}
    expected = program.run({name: array[0] for name, array in drawn.items()})
    return Workload(program, Vectors(drawn, {name: array[np.newaxis] for name, array in expected.items()}))
