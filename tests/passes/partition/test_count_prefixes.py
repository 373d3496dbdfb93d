"""Rows of masks that keep their first elements are counted, and what nobody reads is not computed; the rest is as it
was."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bevel.backends.program.op import Array
from bevel.backends.program.ops.lookup import Lookup
from bevel.backends.program.ops.mat_mul import MatMul, product
from bevel.backends.program.ops.power_softmax import PowerSoftmax
from bevel.backends.program.ops.shift_mat_mul import ShiftMatMul
from bevel.backends.program.ops.softmax import Mask, Softmax
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE, tables
from bevel.passes.partition.count_prefixes import count_prefixes

HEADS, WIDTH, SLOTS = 2, 4, 6
CAUSAL = np.tril(np.ones((SLOTS, SLOTS), np.bool_))
SHARES = Output(-128)


def attention(keep: Array, inverted: bool = False, **changes: Any) -> Program:
    """A step's query [heads, 1, width] against keys and values [slots, heads, width], at a position that comes in."""
    strides = {"a_strides": (WIDTH, WIDTH, 1), "b_strides": (WIDTH, 1, HEADS * WIDTH)}
    scores = product((HEADS,), 1, WIDTH, SLOTS, 0.004, **strides, output=Output(9), **changes)
    rows = {"b_strides": (WIDTH, HEADS * WIDTH, 1), "a_zero_point": -128, "b_zero_point": 3}
    values = product((HEADS,), 1, SLOTS, WIDTH, 0.004, **rows)
    mask = Mask((HEADS, 1), (1, 1), SLOTS, constant=False, inverted=inverted)
    table = np.arange(256, 0, -1, dtype=np.int32) ** 2
    shapes = {"q": (HEADS, WIDTH), "k": (SLOTS, HEADS, WIDTH), "v": (SLOTS, HEADS, WIDTH), "position": (1,)}
    shapes |= {"row": (SLOTS,), "scores": (HEADS, SLOTS), "shares": (HEADS, SLOTS), "y": (HEADS, WIDTH)}
    other = {"position": "int64", "row": "bool"}
    calls = (
        Call("row", Lookup(1, SLOTS, SLOTS, "bool"), ("position",), (keep ^ inverted,), "row"),
        Call("scores", scores, ("q", "k"), (), "scores"),
        Call("shares", Softmax(HEADS, SLOTS, SHARES, mask), ("scores", "row"), (table,), "shares"),
        Call("values", values, ("shares", "v"), (), "y"),
    )
    buffers = {name: Buffer(name, shape, other.get(name, "int8")) for name, shape in shapes.items()}
    inputs = tuple(Port(name, name, shapes[name], other.get(name, "int8")) for name in ("q", "k", "v", "position"))
    return Program("net", inputs, (Port("y", "y", shapes["y"], "int8"),), buffers, calls)


def by_powers(program: Program) -> Program:
    """With shares that are powers of two."""
    row, scores, softmax, values = program.calls
    assert isinstance(softmax.kernel, Softmax) and isinstance(values.kernel, MatMul)
    shares = replace(
        softmax, kernel=PowerSoftmax(HEADS, SLOTS, 1, "int8", softmax.kernel.mask), constants=tables(0.02, FINE)
    )
    made = replace(values.kernel, a_dtype="int16", a_zero_point=0, shift=values.kernel.shift + 6)
    return replace(program, calls=(row, scores, shares, replace(values, kernel=ShiftMatMul(made))))


def counted(program: Program) -> list[str | None]:
    kernels = (call.kernel for call in program.calls)
    products = (one.product if isinstance(one, ShiftMatMul) else one for one in kernels)
    return [one.counted for one in products if isinstance(one, MatMul)]


def samples() -> list[Mapping[str, Array]]:
    rng = np.random.default_rng(3)
    shapes = {"q": (HEADS, WIDTH), "k": (SLOTS, HEADS, WIDTH), "v": (SLOTS, HEADS, WIDTH)}
    drawn = {name: rng.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}
    return [drawn | {"position": np.array([place])} for place in range(SLOTS)]


def same_bits(first: Program, second: Program) -> bool:
    return all(np.array_equal(first.run(one)["y"], second.run(one)["y"]) for one in samples())


@pytest.mark.parametrize("inverted", [False, True])
def test_a_causal_mask_is_counted(inverted: bool) -> None:
    program = attention(CAUSAL, inverted)
    found = count_prefixes(program)
    assert counted(found) == ["columns", "terms"]
    assert found.calls[0].kernel == Lookup(1, SLOTS, 1, "int32")
    assert found.calls[0].constants[0].ravel().tolist() == [1, 2, 3, 4, 5, 6]
    assert "row" not in found.buffers
    assert same_bits(program, found)


def test_shares_that_are_powers_of_two_are_counted() -> None:
    program = by_powers(attention(CAUSAL))
    found = count_prefixes(program)
    assert counted(found) == ["columns", "terms"] and "row" not in found.buffers
    assert same_bits(program, found)
    assert len({found.run(one)["y"].tobytes() for one in samples()}) == SLOTS


def test_layers_share_one_count() -> None:
    program = attention(CAUSAL)
    row, *others = program.calls
    again = [replace(call, output=f"{call.output}'") for call in others]
    again[1] = replace(again[1], inputs=("scores'", "row'"))
    again[2] = replace(again[2], inputs=("shares'", "v"))
    calls = (row, replace(row, output="row'"), *others, *again)
    buffers = program.buffers | {f"{name}'": replace(one, name=f"{name}'") for name, one in program.buffers.items()}
    found = count_prefixes(replace(program, calls=calls, buffers=buffers))
    assert counted(found) == ["columns", "terms"] * 2
    assert sum(isinstance(call.kernel, Lookup) for call in found.calls) == 1


@pytest.mark.parametrize("keep", [np.triu(CAUSAL, -1), np.roll(CAUSAL, 1, axis=1), np.tril(CAUSAL, -1)])
def test_rows_that_keep_others_than_their_first_or_none_stay(keep: Array) -> None:
    program = attention(keep)
    assert count_prefixes(program) == program


def test_scores_that_leave_the_model_are_computed_whole() -> None:
    program = attention(CAUSAL)
    program = replace(program, outputs=(*program.outputs, Port("scores", "scores", (HEADS, SLOTS), "int8")))
    assert counted(count_prefixes(program)) == [None, "terms"]


def test_shares_less_another_zero_point_are_all_summed() -> None:
    program = attention(CAUSAL)
    last = program.calls[-1]
    assert isinstance(last.kernel, MatMul)
    other = replace(last, kernel=replace(last.kernel, a_zero_point=-127))
    program = replace(program, calls=(*program.calls[:-1], other))
    found = count_prefixes(program)
    assert counted(found) == ["columns", None]
    assert same_bits(program, found)


def test_shares_that_are_held_above_0_are_all_summed() -> None:
    program = attention(CAUSAL)
    row, scores, softmax, values = program.calls
    assert isinstance(softmax.kernel, Softmax)
    held = replace(softmax, kernel=replace(softmax.kernel, output=Output(-128, low=-120)))
    program = replace(program, calls=(row, scores, held, values))
    found = count_prefixes(program)
    assert counted(found) == ["columns", None]
    assert same_bits(program, found)


def test_scores_that_do_not_lie_in_rows_are_computed_whole() -> None:
    program = attention(CAUSAL, y_strides=(1, HEADS * SLOTS, HEADS))
    assert counted(count_prefixes(program)) == [None, "terms"]
