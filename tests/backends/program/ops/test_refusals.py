"""Shapes that a kernel could only compute wrongly are refused when the kernel is made."""

import pytest

from bevel.backends.program.ops.pad import Pad
from bevel.backends.program.ops.resize_bilinear import ResizeBilinear
from bevel.backends.program.ops.slice import Slice
from bevel.calib.arithmetic.requantize import Output


@pytest.mark.parametrize(("start", "size", "step"), [(5, 1, 1), (3, 2, 2), (1, 3, -1), (-1, 1, 1)])
def test_a_slice_that_leaves_its_axis_is_refused(start: int, size: int, step: int) -> None:
    with pytest.raises(ValueError, match="leaves an axis of 5"):
        Slice((5,), (start,), (size,), (step,))


def test_a_slice_that_ends_on_the_last_element_is_taken() -> None:
    assert Slice((5,), (0,), (3,), (2,)).operands()[1].shape == (3,)


def test_a_negative_pad_is_refused() -> None:
    with pytest.raises(ValueError, match="negative pad"):
        Pad((3,), (-1,), (1,), 0)


@pytest.mark.parametrize("bits", [0, 12])
def test_interpolation_weights_that_an_int32_cannot_hold_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        ResizeBilinear(1, 1, 1, 1, 1, 1, bits, Output())
