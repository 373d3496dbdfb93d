"""Values, layouts and the moves between them."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.program.ops.clip import Clip
from bevel.passes.operators.lowering import Lowering, Value, channels_last, onnx_order
from bevel.passes.operators.moves.reshape import order_of_groups
from bevel.passes.operators.sums.reduced import gathered, without


def test_channels_last_moves_axis_one_behind_the_image() -> None:
    assert [channels_last(rank) for rank in (1, 2, 3, 4, 5)] == [(0,), (0, 1), (0, 2, 1), (0, 2, 3, 1), (0, 2, 3, 4, 1)]


def test_layouts_that_differ_in_axes_of_length_one_are_the_same_bytes() -> None:
    value = Value("b", (1, 3, 1, 5), (0, 1, 2, 3))
    assert value.lies_like((2, 1, 0, 3)) and value.lies_like((1, 3, 0, 2))
    assert not value.lies_like(channels_last(4))


def lowering(value: Value, dtype: str = "int8") -> Lowering:
    made = Lowering()
    assert made.new_buffer(value.buffer, value.stored, dtype) == value.buffer
    return made


def test_reordering_what_lies_right_emits_nothing() -> None:
    value = Value("b", (1, 1, 4, 5), onnx_order(4))
    made = lowering(value)
    assert made.reorder(value, channels_last(4), "x").buffer == "b"
    assert made.calls == []


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_reordering_moves_each_element_to_its_place(start: list[int], end: list[int]) -> None:
    array = np.arange(120, dtype=np.int8).reshape(2, 3, 4, 5)
    value = Value("b", array.shape, tuple(start))
    made = lowering(value)
    moved = made.reorder(value, tuple(end), "x")
    stored = array.transpose(start)
    for call in made.calls:
        stored = call.kernel.reference(stored.reshape(call.kernel.operands()[0].shape))
    np.testing.assert_array_equal(stored.reshape(moved.stored), array.transpose(end))


def test_two_readers_of_one_layout_share_one_move() -> None:
    value = Value("b", (2, 3, 4, 5), onnx_order(4))
    made = lowering(value)
    first, second = (made.reorder(value, channels_last(4), "x") for _ in range(2))
    assert first == second and len(made.calls) == 1


@given(st.permutations(range(4)))
def test_constants_are_reordered_without_a_call(end: list[int]) -> None:
    array = np.arange(120, dtype=np.int8).reshape(2, 3, 4, 5)
    made = Lowering()
    tensor = gs.Constant("c", array)
    found = made.constants[made.read(tensor, tuple(end))]
    np.testing.assert_array_equal(found.reshape(array.transpose(end).shape), array.transpose(end))
    assert made.calls == []


def test_buffers_of_one_name_are_kept_apart() -> None:
    made = Lowering()
    assert [made.new_buffer("b", (1,), "int8") for _ in range(3)] == ["b", "b'", "b''"]


def test_scalar_constants_stay_scalars() -> None:
    made = Lowering()
    assert made.value(gs.Constant("c", np.array(3, np.int8))).shape == ()


def test_kernel_that_writes_another_size_is_a_bug_we_notice() -> None:
    made = lowering(Value("b", (4,), (0,)))
    node = gs.Node("Clip", "clip")
    with pytest.raises(ValueError, match="writes 4 elements"):
        made.emit(node, Clip(size=4, low=0, high=1), ["b"], (), gs.Variable("y", np.int8, [5]), (0,))


def test_reshape_that_adds_axes_of_length_one_keeps_the_layout() -> None:
    last = Value("b", (1, 3, 4, 5), channels_last(4))
    assert order_of_groups(last, (3, 4, 5)) == (1, 2, 0)
    assert order_of_groups(last, (3, 1, 4, 5)) == (1, 2, 3, 0)
    assert order_of_groups(last, (12, 5)) is None


def test_mean_reads_axes_that_lie_side_by_side_where_they_are() -> None:
    last = Value("b", (2, 3, 4, 5), channels_last(4))
    assert gathered(last, {2, 3}) == last.order
    assert gathered(last, {0, 1}) == (2, 3, 0, 1)
    assert gathered(Value("b", (2, 3, 1, 5), channels_last(4)), {0, 3}) == (0, 2, 3, 1)
    assert without(last.order, {2}) == (0, 2, 1)
