"""Which integers a buffer can hold: known from the kernels that write it, before anything runs.

A result is clamped to its `Output`, so that two bits of activations are four of int8's values, wherever they lie. What
only moves elements keeps their bounds. Kernels that count bits want to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bevel.backends.program.kernel import Array, Role
from bevel.backends.program.program import Bounds, Call, Program
from bevel.backends.tir.kernels.add import Add
from bevel.backends.tir.kernels.average_pool import AveragePool
from bevel.backends.tir.kernels.broadcast import Broadcast
from bevel.backends.tir.kernels.clip import Clip
from bevel.backends.tir.kernels.coded_conv import CodedConv
from bevel.backends.tir.kernels.concat import Concat
from bevel.backends.tir.kernels.conv import Conv
from bevel.backends.tir.kernels.conv_transpose import ConvTranspose
from bevel.backends.tir.kernels.copy import Copy
from bevel.backends.tir.kernels.div import Div
from bevel.backends.tir.kernels.extreme import Extreme
from bevel.backends.tir.kernels.gather import Gather
from bevel.backends.tir.kernels.gemm import Gemm
from bevel.backends.tir.kernels.log_softmax import LogSoftmax
from bevel.backends.tir.kernels.max_pool import MaxPool
from bevel.backends.tir.kernels.mul import Mul
from bevel.backends.tir.kernels.normalize import Normalize
from bevel.backends.tir.kernels.pad import Pad
from bevel.backends.tir.kernels.prelu import PRelu
from bevel.backends.tir.kernels.reduce_extreme import ReduceExtreme
from bevel.backends.tir.kernels.reduce_l2 import ReduceL2
from bevel.backends.tir.kernels.reduce_mean import ReduceMean
from bevel.backends.tir.kernels.resize_nearest import ResizeNearest
from bevel.backends.tir.kernels.round_even import RoundEven
from bevel.backends.tir.kernels.slice import Slice
from bevel.backends.tir.kernels.softmax import Softmax
from bevel.backends.tir.kernels.table import ENTRIES, Table
from bevel.backends.tir.kernels.transpose import Transpose
from bevel.backends.tir.kernels.where import Where
from bevel.backends.tir.kernels.wide_add import WideAdd
from bevel.backends.tir.kernels.wide_average_pool import WideAveragePool
from bevel.backends.tir.kernels.wide_div import WideDiv
from bevel.backends.tir.kernels.wide_mean import WideMean
from bevel.backends.tir.kernels.wide_mul import WideMul
from bevel.backends.tir.kernels.wide_rescale import WideRescale
from bevel.backends.tir.kernels.wide_softmax import WideSoftmax
from bevel.backends.tir.kernels.wide_table import WideTable


def with_bounds(program: Program) -> Program:
    """`program` with every call's `input_bounds`."""
    known = {name: Held(str(array.dtype), of_values(array)) for name, array in program.constants.items()}
    known |= {port.buffer: Held(port.dtype, of_type(port.dtype)) for port in program.inputs}
    known |= {call.output: written(call, (None,)) for call in program.entries}
    calls = []
    for call in program.calls:
        inputs = tuple(
            known.get(name, NOTHING).read_as(operand.dtype)
            for name, operand in zip(call.inputs, call.kernel.roles(Role.INPUT), strict=True)
        )
        calls.append(replace(call, input_bounds=inputs))
        result = written(call, inputs)
        known[call.output] = known[call.output].or_else(result) if call.output in known else result
    return replace(program, calls=tuple(calls))


class Held(NamedTuple):
    """What a buffer holds. `bounds` is None where nothing is known, as of floats."""

    dtype: str
    bounds: Bounds | None

    def read_as(self, dtype: str) -> Bounds | None:
        return self.bounds if dtype == self.dtype else of_type(dtype)

    def or_else(self, other: Held) -> Held:
        if self.dtype != other.dtype or self.bounds is None or other.bounds is None:
            return Held(other.dtype, of_type(other.dtype))
        return Held(self.dtype, joined((self.bounds, other.bounds)))


NOTHING = Held("", None)


def written(call: Call, inputs: Sequence[Bounds | None]) -> Held:
    (result,) = call.kernel.roles(Role.OUTPUT)
    return Held(result.dtype, of_result(call, inputs))


def of_result(call: Call, inputs: Sequence[Bounds | None]) -> Bounds | None:
    """What the elements lie in that a call writes, given those of what it reads."""
    kernel = call.kernel
    known = [bounds for bounds in inputs if bounds is not None]
    match kernel:
        case Add() | AveragePool() | Conv() | ConvTranspose() | Gemm() | Mul() | ReduceMean() | Softmax():
            return kernel.output.low, kernel.output.high
        case Div() | Extreme() | LogSoftmax() | Normalize() | PRelu() | ReduceL2() | Where() | WideDiv():
            return kernel.output.low, kernel.output.high
        case (
            WideAdd()
            | WideAveragePool()
            | WideDiv()
            | WideMean()
            | WideMul()
            | WideRescale()
            | RoundEven()
            | WideSoftmax()
            | WideTable()
        ):
            return kernel.output.low, kernel.output.high
        case CodedConv():
            return kernel.plain.output.low, kernel.plain.output.high
        case _ if len(known) == len(inputs):
            return of_moved(call, known)
        case _:
            return None


def of_moved(call: Call, inputs: Sequence[Bounds]) -> Bounds | None:
    """The same of kernels whose results are elements of their inputs, or made from one."""
    kernel, (low, high) = call.kernel, inputs[0]
    match kernel:
        case Clip():
            return max(min(low, kernel.high), kernel.low), max(min(high, kernel.high), kernel.low)
        case Table():
            return of_values(call.constants[0][low + ENTRIES // 2 : high + ENTRIES // 2 + 1])
        case Copy() | Slice() | Transpose() | ResizeNearest() | Concat() | Gather() | Broadcast() | ReduceExtreme():
            return joined(inputs)
        case Pad():
            return joined((*inputs, (kernel.value, kernel.value)))
        case MaxPool() if has_a_pixel(kernel):
            return inputs[0]
        case _:
            (result,) = kernel.roles(Role.OUTPUT)
            return of_type(result.dtype)


def has_a_pixel(pool: MaxPool) -> bool:
    """Whether no window lies wholly in the padding."""
    top, left, bottom, right = pool.pads
    (kh, kw), undilated = pool.kernel, pool.dilations == (1, 1)
    return not any(pool.pads) or (undilated and max(top, bottom) < kh and max(left, right) < kw)


def joined(bounds: Sequence[Bounds]) -> Bounds:
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def of_values(array: Array) -> Bounds | None:
    return (int(array.min()), int(array.max())) if array.size and array.dtype.kind in "iu" else None


def of_type(dtype: str) -> Bounds | None:
    """All that an integer type holds."""
    if np.dtype(dtype).kind not in "iu":
        return None
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
