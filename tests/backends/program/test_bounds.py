"""Bounds of buffers hold for everything that the kernels write, and are as narrow as the formats are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.op import Op, Role, of_type, of_values
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.concat import Concat
from bevel.backends.program.ops.copy import ConvertSign, Copy
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.table import Table
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.calib.arithmetic.requantize import Output
from kernel_cases import PLAIN


@pytest.mark.parametrize("kernel", [case for _, _, case in PLAIN], ids=lambda kernel: type(kernel).__name__)
def test_what_a_kernel_writes_lies_within_its_bounds(kernel: Op) -> None:
    given = kernel.example(np.random.default_rng(0))
    count = len(kernel.roles(Role.INPUT))
    inputs = [of_values(array) for array in given[:count]]
    bounds = kernel.bounds(inputs, given[count:])
    written = kernel.reference(*given)
    assert bounds is None or bounds[0] <= written.min() <= written.max() <= bounds[1]


def chain(*steps: Op) -> Program:
    """A program whose calls read one another's results, from an int8 input x0 on; constants as in examples."""
    calls, buffers = [], {}
    for index, kernel in enumerate(steps):
        constants = kernel.example(np.random.default_rng(index))[1:]
        calls.append(Call(f"node{index}", kernel, (f"x{index}",), tuple(constants), f"x{index + 1}"))
        (source,), (result,) = kernel.roles(Role.INPUT), kernel.roles(Role.OUTPUT)
        buffers[f"x{index}"] = Buffer(f"x{index}", source.shape, source.dtype)
        buffers[f"x{index + 1}"] = Buffer(f"x{index + 1}", result.shape, result.dtype)
    (first,) = steps[0].roles(Role.INPUT)
    return Program("p", (Port("x0", "x0", first.shape, first.dtype),), (), buffers, tuple(calls))


def bounds_of(program: Program) -> list[tuple[tuple[int, int] | None, ...]]:
    return [call.input_bounds for call in with_bounds(program).calls]


def test_clamped_results_stay_narrow_through_what_only_moves_them() -> None:
    narrow = Gemm(1, 8, 8, Output(-128, -128, -125))
    pool = MaxPool(1, 2, 2, 2, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0))
    assert bounds_of(chain(narrow, Copy(8), pool)) == [((-128, 127),), ((-128, -125),), ((-128, -125),)]


def test_a_pool_whose_windows_may_lie_in_the_padding_loses_the_bounds() -> None:
    pool = MaxPool(1, 1, 1, 1, (2, 1), (1, 1), (2, 1), (1, 0, 1, 0))
    assert pool.bounds([(3, 4)], []) == (-128, 127)
    padded = replace(pool, dilations=(1, 1))
    assert padded.bounds([(3, 4)], []) == (3, 4)


def test_a_table_is_looked_up_only_where_its_input_can_be() -> None:
    entries = np.arange(-128, 128).astype(np.int8)
    assert Table(4).bounds([(-3, 9)], [entries]) == (-3, 9)


def test_bounds_outside_a_clip_are_brought_to_its_ends() -> None:
    assert Clip(4, -10, 10).bounds([(20, 30)], []) == (10, 10)


def test_a_buffer_with_two_writers_can_hold_what_either_writes() -> None:
    low, high = Clip(4, -10, -5), Clip(4, 5, 10)
    buffers = {name: Buffer(name, (4,), "int8") for name in ("x", "y", "z")}
    calls = tuple(Call("node", kernel, ("x",), (), "y") for kernel in (low, high))
    last = Call("last", Copy(4), ("y",), (), "z")
    program = Program("p", (Port("x", "x", (4,), "int8"),), (), buffers, (*calls, last))
    assert with_bounds(program).calls[-1].input_bounds == ((-10, 10),)


def test_bytes_read_as_another_type_may_be_anything() -> None:
    buffers = {name: Buffer(name, (4,), "int8") for name in ("x", "y", "z")}
    calls = (Call("node", Clip(4, 0, 1), ("x",), (), "y"), Call("last", ConvertSign(4, "uint8"), ("y",), (), "z"))
    program = Program("p", (Port("x", "x", (4,), "int8"),), (), buffers, calls)
    assert with_bounds(program).calls[-1].input_bounds == ((0, 255),)


def test_constants_are_bounded_by_their_values_and_floats_by_nothing() -> None:
    kernel = Concat(0, ((2,), (2,)))
    program = Program(
        "p",
        (Port("x", "x", (2,), "int8"),),
        (),
        {name: Buffer(name, (2,), "int8") for name in ("x", "c", "y")},
        (Call("node", kernel, ("x", "c"), (), "y"),),
        {"c": np.array([3, -4], np.int8)},
    )
    assert with_bounds(program).calls[0].input_bounds == ((-128, 127), (-4, 3))
    assert of_type("float32") is None
