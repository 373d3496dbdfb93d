"""Every operator that can be cut into bands of rows computes in bands what it computes as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np
import pytest

from bevel.backends.program.bands import Banding, Laid, Shape, Window
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.pairs import Pair
from kernel_cases import PLAIN


def laid(case: Op, constants: tuple[Array, ...]) -> Laid:
    """Its operands as images in buffers, where they say only how many elements or pixels there are."""
    inputs = tuple(image(operand.shape) for operand in case.roles(Role.INPUT))
    return Laid(inputs, image(case.roles(Role.OUTPUT)[0].shape), constants)


def image(shape: Shape) -> Shape:
    if len(shape) not in (1, 2):
        return shape
    rows = next((rows for rows in (5, 3, 7, 2) if shape[0] % rows == 0), 1)
    return 1, rows, shape[0] // rows, *(shape[1:] or (1,))


def cases() -> Iterator[tuple[str, int, Op]]:
    """Those of all operators; those of two inputs also for single images."""
    yield from PLAIN
    for module, index, case in PLAIN:
        if isinstance(case, Pair):
            for number, shape in enumerate([(1, 4, 3, 5), (5,), (4, 1, 1)]):
                pair = replace(case, shape=(1, 4, 3, 5), a_shape=(1, 4, 3, 5), b_shape=shape)
                yield module, 100 * (number + 1) + index, pair


def found_bandings() -> Iterator[tuple[str, Op]]:
    for module, index, case in cases():
        given = case.example(np.random.default_rng(index))
        found = case.banding(laid(case, given[len(case.roles(Role.INPUT)) :]))
        if found is not None and found.rows > 1:
            yield f"{module}-{index}", case


CUT = list(found_bandings())


@pytest.mark.parametrize("case", [case for _, case in CUT], ids=[name for name, _ in CUT])
@pytest.mark.parametrize("height", [1, 2, 3])
def test_bands_are_the_rows_of_the_whole(case: Op, height: int) -> None:
    given = case.example(np.random.default_rng(0))
    inputs, constants = given[: len(case.roles(Role.INPUT))], given[len(case.roles(Role.INPUT)) :]
    found = case.banding(laid(case, constants))
    assert found is not None
    expected = case.reference(*given).reshape(found.rows, -1)
    cuts = [*range(0, found.rows, height), found.rows]
    for first, end in pairwise(cuts):
        np.testing.assert_array_equal(band(found, inputs, first, end), expected[first:end])


def band(found: Banding, inputs: tuple[Array, ...], first: int, end: int) -> Array:
    """Output rows [first, end) from just the input rows that they are said to need."""
    op, constants = found.piece(first, end)
    parts = [
        rows_of(array, window, first, end).reshape(operand.shape)
        for array, window, operand in zip(inputs, found.windows, op.roles(Role.INPUT), strict=True)
    ]
    result: Array = op.reference(*parts, *constants).reshape(end - first, -1)
    return result


def rows_of(array: Array, window: Window | None, first: int, end: int) -> Array:
    if window is None:
        return array
    rows = array.reshape(window.rows, -1)
    return rows[window.first(first) : window.end(end)]


def test_a_band_of_one_row_writes_one_row() -> None:
    for _, case in CUT:
        given = case.example(np.random.default_rng(0))
        found = case.banding(laid(case, given[len(case.roles(Role.INPUT)) :]))
        assert found is not None
        op, _ = found.piece(0, 1)
        assert prod(op.roles(Role.OUTPUT)[0].shape) * found.rows == case.roles(Role.OUTPUT)[0].size


def test_windows_pools_sums_and_functions_are_among_them() -> None:
    kinds = {name.rpartition("-")[0] for name, _ in CUT}
    assert {"conv", "coded_conv", "max_pool", "average_pool", "add", "mul", "table", "clip", "round_mx"} <= kinds
