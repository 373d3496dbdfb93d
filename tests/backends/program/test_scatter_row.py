"""ScatterRow over its own input writes one row and leaves the others."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.backends.program.carry import carry
from bevel.backends.program.op import Array
from bevel.backends.program.ops.scatter_row import ScatterRow
from bevel.backends.program.program import Buffer, Call, Port, Program

ROWS, WIDTH = 5, 3


def program() -> Program:
    shapes = {"h": (ROWS, WIDTH), "n": (ROWS, WIDTH), "p": (1,), "r": (WIDTH,)}
    buffers = {name: Buffer(name, shape, "int64" if name == "p" else "int8") for name, shape in shapes.items()}
    ports = {name: Port(name, name, shapes[name], buffers[name].dtype) for name in shapes}
    call = Call("write", ScatterRow(ROWS, WIDTH), ("h", "p", "r"), (), "n")
    return Program("net", (ports["h"], ports["p"], ports["r"]), (ports["n"],), buffers, (call,))


def test_a_state_that_is_written_row_by_row_is_never_copied() -> None:
    (call,) = carry(program(), {"h": "n"}).calls
    assert call.inputs[0] == call.output == "h"
    assert call.kernel == ScatterRow(ROWS, WIDTH, over=True)


@pytest.mark.parametrize("place", [-9, -1, 0, 2, 4, 9])
def test_a_place_outside_is_the_nearest_row(place: int) -> None:
    x = np.arange(ROWS * WIDTH, dtype=np.int8).reshape(ROWS, WIDTH)
    row: Array = np.full(WIDTH, 99, np.int8)
    found = ScatterRow(ROWS, WIDTH).reference(x, np.array([place]), row)
    (changed,) = np.flatnonzero((found != x).any(1))
    assert changed == {-9: 0, -1: 4, 9: 4}.get(place, place) and (found[changed] == 99).all()
