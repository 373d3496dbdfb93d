"""What is left out of a window is outside the image; what is inside is read once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from bevel.backends.encodings.quads import QUAD
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.vectors import inside, windows

PLAIN = replace(next(iter(conv.cases())), groups=1, x_zero_point=-128)
SMALL = st.integers(1, 3)
PAD = st.integers(0, 4)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    """With padding of zeros on any side."""
    found = replace(
        PLAIN,
        height=draw(st.integers(1, 8)),
        width=draw(st.integers(1, 12)),
        channels_in=draw(st.integers(1, 9)),
        kernel=(draw(SMALL), draw(SMALL)),
        strides=(draw(SMALL), draw(SMALL)),
        dilations=(draw(SMALL), draw(SMALL)),
        pads=(draw(PAD), draw(PAD), draw(PAD), draw(PAD)),
    )
    assume(min(found.positions) > 0)
    return found


@given(convolutions())
def test_rows_of_taps_are_those_inside(drawn: Conv) -> None:
    found = windows.of_conv(drawn, flat=False)
    for row in range(found.rows):
        first, count = (int(one) for one in inside.segments_inside(found, row))
        taken = range(first, first + count)
        rows = [row * drawn.strides[0] - drawn.pads[0] + tap * drawn.dilations[0] for tap in range(found.along)]
        if found.along > 1:
            assert [tap for tap, at in enumerate(rows) if 0 <= at < drawn.height] == list(taken)
        else:
            assert taken == range(1)


@given(convolutions(), st.integers(1, 6), st.sampled_from([1, 2]))
def test_each_pixel_reads_all_that_is_inside_once_and_no_quad_of_nothing(
    drawn: Conv, pixels: int, together: int
) -> None:
    found = windows.of_conv(drawn, flat=False)
    assume(found.quads % together == 0)
    read: list[list[int]] = []
    for alike in inside.tiles_inside(found, pixels, together):
        for _ in range(alike.times):
            assert alike.column + alike.pixels <= found.columns
            of_pixel: list[list[int]] = [[] for _ in range(alike.pixels)]
            for run in alike.quad_runs:
                assert run.first % together == run.size % together == 0
                for pixel in run.pixels:
                    of_pixel[pixel] += range(run.first, run.first + run.size)
            read += of_pixel
    assert len(read) == found.columns
    image = found.image
    for column, quads in enumerate(read):
        assert len(set(quads)) == len(quads)
        start = column * found.right - image.before
        useful = {at // QUAD for at in range(found.size) if 0 <= start + at < image.row_bytes}
        if found.across > 1:
            assert quads == list(range(found.quads))
            continue
        assert useful <= set(quads) <= set(range(found.quads))
        if image.before or image.behind:
            assert {quad // together for quad in quads} == {quad // together for quad in useful}


def test_other_padding_is_read() -> None:
    """What it adds is in nobody's bias."""
    found = windows.of_conv(replace(PLAIN, height=4, width=4, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=3))
    assert inside.segments_inside(found, 0) == (0, 3)
    assert inside.tiles_inside(found, 4)[0].quad_runs == (inside.QuadRun(0, found.quads, (0, 1, 2, 3)),)
