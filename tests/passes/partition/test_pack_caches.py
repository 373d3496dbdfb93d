"""Caches of codes of four bits lie two to a byte, with the same results; other caches stay as they are, with the
reason where it looked like one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bevel.backends.program.op import Array
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.mat_mul import MatMul, product
from bevel.backends.program.ops.scatter_row import ScatterRow
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.passes.partition.pack_caches import pack_caches

SLOTS, HEADS, SIZE = 5, 2, 4
WIDTH = HEADS * SIZE


def step(low: int = -8, high: int = 7, start: int = 0, width: int = WIDTH) -> Program:
    """A row, clipped, is written over a cache [slots, width] at a position, and a query [heads, 1, size] meets all."""
    strides = {"a_strides": (SIZE, SIZE, 1), "b_strides": (SIZE, 1, width)}
    scores = product((HEADS,), 1, SIZE, SLOTS, 0.01, **strides, b_zero_point=start)
    shapes = {"given": (width,), "row": (width,), "place": (1,), "cache": (SLOTS, width)}
    shapes |= {"q": (HEADS, SIZE), "y": (HEADS, SLOTS)}
    calls = (
        Call("row", Clip(width, low, high), ("given",), (), "row"),
        Call("write", ScatterRow(SLOTS, width, over=True), ("cache", "place", "row"), (), "cache"),
        Call("scores", scores, ("q", "cache"), (), "y"),
    )
    buffers = {name: Buffer(name, shape, "int64" if name == "place" else "int8") for name, shape in shapes.items()}
    inputs = tuple(Port(name, name, shapes[name], buffers[name].dtype) for name in ("given", "place", "q"))
    outputs = (Port("y", "y", shapes["y"], "int8"),)
    return Program("net", inputs, outputs, buffers, calls, carried={"cache": start})


def outputs(program: Program) -> list[Array]:
    rng, states = np.random.default_rng(5), dict[str, Array]()
    found = []
    for place in range(SLOTS):
        given = {port.name: rng.integers(-128, 128, port.shape).astype(np.int8) for port in program.inputs}
        found.append(program.run(given | {"place": np.array([place])}, states)["y"])
    return found


@pytest.mark.parametrize(("low", "high", "start"), [(-8, 7, 0), (-8, 7, -8), (-2, 1, 1)])
def test_a_cache_of_four_bits_is_packed_and_products_read_it_so(low: int, high: int, start: int) -> None:
    program = step(low, high, start)
    found, (note,) = pack_caches(program)
    assert found.buffers["cache"] == Buffer("cache", (SLOTS * WIDTH // 2,), "uint8")
    assert found.state_bytes * 2 == program.state_bytes
    kernels = [call.kernel for call in found.calls]
    assert isinstance(kernels[1], ScatterRow) and kernels[1].packed and kernels[1].over
    assert isinstance(kernels[2], MatMul) and kernels[2].packed
    assert (note.node, note.text) == ("write", "its codes lie two to a byte: 20 bytes")
    before = outputs(program)
    np.testing.assert_array_equal(before, outputs(found))
    assert np.unique(before).size > 5, "the test shows little"


def same(program: Program) -> tuple[str, ...]:
    """What is said of a program that stays as it is."""
    found, notes = pack_caches(program)
    assert found is program
    return tuple(note.text for note in notes)


@pytest.mark.parametrize("changes", [{"low": -9}, {"high": 8}, {"start": -100}, {"low": -128, "high": 127}])
def test_a_cache_of_more_bits_stays(changes: dict[str, Any]) -> None:
    assert same(step(**changes)) == ()


def test_rows_of_an_odd_number_of_codes_stay() -> None:
    (said,) = same(step(width=WIDTH + 1))
    assert said == "its codes fit four bits and lie in whole bytes: its rows have 9 codes, an odd number"


def test_a_cache_that_is_moved_stays() -> None:
    program = step()
    moved = Call("moved", Copy(SLOTS * WIDTH, "int8"), ("cache",), (), "copy")
    buffers = program.buffers | {"copy": Buffer("copy", (SLOTS, WIDTH), "int8")}
    (said,) = same(replace(program, calls=(*program.calls, moved), buffers=buffers))
    assert said.endswith("moved reads it, which is no product of two activations")


def test_a_cache_that_is_the_left_factor_stays() -> None:
    program = step()
    *others, scores = program.calls
    left = product((), SLOTS, WIDTH, 1, 0.01)
    buffers = program.buffers | {"y": Buffer("y", (SLOTS, 1), "int8")}
    calls = (*others, replace(scores, kernel=left, inputs=("cache", "q"), input_starts=(0, 0)))
    port = Port("y", "y", (SLOTS, 1), "int8")
    (said,) = same(replace(program, calls=calls, buffers=buffers, outputs=(port,)))
    assert said.endswith("scores reads it, which is no product of two activations")


def test_a_buffer_that_does_not_stay_is_no_cache() -> None:
    program = step()
    port = Port("cache", "cache", (SLOTS, WIDTH), "int8")
    assert same(replace(program, carried={}, inputs=(*program.inputs, port))) == ()
