"""Extents and strides for broadcasting, and the sizes that operators and loops agree on."""

import numpy as np
import pytest

from bevel.backends.program.shapes import broadcast_axes, register_tile, window_positions
from bevel.backends.tir.loops import offset_of


def test_operands_of_one_shape_need_one_loop() -> None:
    assert broadcast_axes((2, 3, 4), (2, 3, 4), (2, 3, 4)) == ((24,), [(1,), (1,)])


def test_a_repeated_axis_gets_stride_zero_and_is_not_merged_with_the_others() -> None:
    assert broadcast_axes((2, 3, 4), (2, 3, 4), (4,)) == ((6, 4), [(4, 1), (0, 1)])


def test_axes_of_size_one_vanish() -> None:
    assert broadcast_axes((1, 5, 1), (5, 1), (1, 1, 1)) == ((5,), [(1,), (0,)])
    assert broadcast_axes((), (), ()) == ((1,), [(0,), (0,)])


@pytest.mark.parametrize(
    ("shape", "operand"),
    [((2, 3, 4, 5), (3, 1, 5)), ((2, 3, 4), (2, 1, 4)), ((3, 2, 2, 3), (1, 2, 1, 3)), ((4, 1, 3), (4, 1, 1))],
)
def test_the_strides_reach_what_numpy_broadcasts(shape: tuple[int, ...], operand: tuple[int, ...]) -> None:
    elements = np.arange(np.prod(operand)).reshape(operand)
    extents, (strides,) = broadcast_axes(shape, operand)
    reached = [offset_of(index, strides) for index in np.ndindex(*extents)]
    assert reached == np.broadcast_to(elements, shape).ravel().tolist()


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) does not broadcast to \(2, 4\)"):
        broadcast_axes((2, 4), (3,))
    with pytest.raises(ValueError, match="does not broadcast"):
        broadcast_axes((4,), (1, 4))


def test_a_register_tile_divides_the_channels() -> None:
    assert [register_tile(channels) for channels in (1, 2, 3, 5, 6, 7, 8, 10)] == [1, 2, 3, 1, 3, 1, 4, 2]


def test_window_positions_are_those_of_onnx_rounded_down() -> None:
    assert window_positions(size=224, kernel=7, stride=2, dilation=1, before=3, after=3) == 112
    assert window_positions(size=9, kernel=3, stride=2, dilation=2, before=0, after=1) == 3
