"""Heads that are read several times are copied only where somebody else than a product reads the copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.backends.program.ops.mat_mul import MatMul
from bevel.passes.operators.views import View, aligned, joined

TOKENS, GROUPS, EACH, WIDTH = 5, 2, 3, 4
HEADS = GROUPS * EACH
INPUTS = f"float[1,{HEADS},{TOKENS},{WIDTH}] q, float[1,{TOKENS},{GROUPS},{WIDTH}] k"
UNGROUPED = """r = Unsqueeze (k, three)
t = {repeat}
h = Reshape (t, heads)
"""
BY_TILE = UNGROUPED.format(repeat="Tile (r, times)")
BY_EXPAND = UNGROUPED.format(repeat="Expand (r, shape)")
BY_HEAD = """z = Transpose <perm = [0, 2, 1, 3]> (k)
r = Unsqueeze (z, two)
t = Expand (r, by_head)
u = Reshape (t, joined)
"""
SCORES = "u = Transpose <perm = [0, 2, 3, 1]> (h)\n y = MatMul (q, u)"
WEIGHTS = (
    "int64[1] two, int64[1] three, int64[5] times, int64[5] shape, int64[4] heads, int64[5] by_head, int64[4] joined"
)
VALUES = {
    "two": [2],
    "three": [3],
    "times": [1, 1, 1, EACH, 1],
    "shape": [1, TOKENS, GROUPS, EACH, WIDTH],
    "heads": [1, TOKENS, HEADS, WIDTH],
    "by_head": [1, GROUPS, EACH, TOKENS, WIDTH],
    "joined": [1, HEADS, TOKENS, WIDTH],
}
IN_PLACE = {
    "tiled, scores": BY_TILE + SCORES,
    "expanded, scores": BY_EXPAND + SCORES,
    "expanded by head, scores": BY_HEAD + "x = Transpose <perm = [0, 1, 3, 2]> (u)\n y = MatMul (q, x)",
    "expanded, values": BY_EXPAND
    + "u = Transpose <perm = [0, 2, 1, 3]> (h)\n s = MatMul (q, qt)\n p = Softmax (s)\n y = MatMul (p, u)",
}
COPIED = {
    "read by another": BY_TILE
    + SCORES.replace("y =", "m =")
    + "\n n = Relu (u)\n y = MatMul (m, w)\n o = MatMul (n, w)",
    "tokens are repeated": "t = Tile (k, more)\n u = Transpose <perm = [0, 2, 3, 1]> (t)\n y = MatMul (g, u)",
}


def broadcasts(made: Any) -> int:
    return sum(type(call.kernel).__name__ == "Broadcast" for call in made.program.calls)


@pytest.mark.parametrize("name", IN_PLACE)
def test_grouped_heads_are_read_where_they_lie(name: str, text: Any, stages: Any) -> None:
    inputs = f"{INPUTS}, float[1,{HEADS},{WIDTH},{TOKENS}] qt" if "qt" in IN_PLACE[name] else INPUTS
    made = stages(text(IN_PLACE[name], inputs, "float[] y", WEIGHTS, VALUES))
    assert broadcasts(made) == 0
    kernel = [call.kernel for call in made.program.calls if isinstance(call.kernel, MatMul)][-1]
    assert kernel.batch == (GROUPS, EACH) and kernel.b_strides[1] == 0
    for sample in made.extremes():
        assert made.error(sample) <= 4 if "Softmax" in IN_PLACE[name] else made.error(sample) <= 1


def test_copies_that_others_read_are_made(text: Any, stages: Any) -> None:
    weights, values = f"{WEIGHTS}, float[{TOKENS},{TOKENS}] w", VALUES
    outputs = "float[] y, float[] o"
    made = stages(text(COPIED["read by another"], INPUTS, outputs, weights, values))
    assert broadcasts(made) == 1
    for sample in made.extremes():
        made.run(sample)


def test_a_matrix_that_is_repeated_itself_is_copied(text: Any, stages: Any) -> None:
    weights, values = "int64[4] more", {"more": [1, 2, 1, 1]}
    inputs = f"float[1,{GROUPS},3,{WIDTH}] g, float[1,{TOKENS},{GROUPS},{WIDTH}] k"
    made = stages(text(COPIED["tokens are repeated"], inputs, "float[] y", weights, values))
    assert broadcasts(made) == 1
    for sample in made.extremes():
        made.run(sample)


def as_array(view: View, flat: Any) -> Any:
    factors = [factor for axis in view.axes for factor in axis]
    strides = tuple(stride * flat.itemsize for _, stride in factors)
    return np.lib.stride_tricks.as_strided(flat, [size for size, _ in factors], strides).reshape(view.shape)


def test_views_are_what_numpy_makes() -> None:
    flat = np.arange(24)
    plain = View("b", (((2, 12),), ((3, 4),), ((4, 1),)))
    wanted = flat.reshape(2, 3, 4)
    view = plain.repeated((4, 3, 8))
    wanted = np.tile(wanted, (2, 1, 2))
    np.testing.assert_array_equal(as_array(view, flat), wanted)
    view, wanted = view.transposed((1, 0, 2)), wanted.transpose(1, 0, 2)
    np.testing.assert_array_equal(as_array(view, flat), wanted)
    joined_axes, cut = view.reshaped((12, 8)), view.reshaped((3, 2, 2, 2, 4))
    assert joined_axes is not None and cut is not None
    np.testing.assert_array_equal(as_array(joined_axes, flat), wanted.reshape(12, 8))
    np.testing.assert_array_equal(as_array(cut, flat), wanted.reshape(3, 2, 2, 2, 4))
    assert plain.reshaped((3, 8)) is not None and View("b", (((3, 0), (2, 1)),)).reshaped((2, 3)) is None


def test_axes_are_aligned_where_their_factors_divide() -> None:
    assert aligned([((8, 4),), ((4, 4), (2, 0)), ()]) == [(4, (8, 4, 0)), (2, (4, 0, 0))]
    assert aligned([((2, 0), (3, 1)), ((3, 1), (2, 0))]) is None
    assert aligned([(), ()]) == []
    assert joined(((2, 6), (1, 9), (3, 2))) == ((6, 2),)
