"""The rule for depthwise convolutions on halfword pairs, and its kernels at shapes that nobody chose."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_code import computed, function_of

from bevel.backends.cortex_m.dsp.depthwise_dsp import SCRATCH_BYTES, DepthwiseDsp, fitted, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Role
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

DSP = load("cortex-m4")


def depthwise(**changes: Any) -> Conv:
    plain = Conv(
        batch=1,
        height=6,
        width=7,
        channels_in=8,
        channels_out=8,
        kernel=(3, 3),
        strides=(1, 1),
        dilations=(1, 1),
        pads=(1, 1, 1, 1),
        groups=8,
        x_zero_point=-128,
        output=Output(-128),
    )
    return replace(plain, **changes)


def call_of(plain: Conv, **changes: Array) -> Call:
    names = ("w", "bias", "multiplier", "shift")
    constants = dict(zip(names, plain.example(np.random.default_rng(0))[1:], strict=True)) | changes
    return Call("node", plain, ("x",), tuple(constants.values()), "y")


SMALL = st.integers(1, 4)


@st.composite
def shapes(draw: st.DrawFn) -> Conv:
    channels, kernel = draw(st.integers(1, 9)), (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    size = kernel[0] + draw(st.integers(0, 8)), kernel[1] + draw(st.integers(0, 8))
    strides = draw(st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1), (2, 4), (4, 1)]))
    pads = tuple(draw(st.integers(0, taps - 1)) for taps in kernel * 2)
    zero_points = draw(st.sampled_from([-128, -3, 0, 127])), draw(st.sampled_from([-128, 5, 127]))
    return depthwise(
        height=size[0],
        width=size[1],
        channels_in=channels,
        channels_out=channels,
        groups=channels,
        kernel=kernel,
        strides=strides,
        pads=pads,
        x_zero_point=zero_points[0],
        output=Output(zero_points[1]),
    )


@settings(max_examples=20)
@given(shapes(), SMALL, st.integers(0, 99))
def test_any_shape_that_is_taken_is_computed_exactly(plain: Conv, strip: int, seed: int) -> None:
    x, *constants = plain.example(np.random.default_rng(seed))
    found = specialize(Call("node", plain, ("x",), tuple(constants), "y"), DSP)
    if isinstance(found, str):
        return
    assert isinstance(found.kernel, DepthwiseDsp)
    kernel = replace(found.kernel, strip=min(strip, found.kernel.axes[0].outputs))
    np.testing.assert_array_equal(
        computed(function_of(kernel), kernel, (x, *found.constants)), plain.reference(x, *constants)
    )


@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("pixel", [-128, 127])
def test_the_largest_products_do_not_saturate(weight: int, pixel: int) -> None:
    plain = depthwise(output=Output(0))
    found = specialize(call_of(plain, w=np.full((8, 3, 3, 1), weight, np.int8)), DSP)
    assert isinstance(found, Special)
    x = np.full((1, 6, 7, 8), pixel, np.int8)
    np.testing.assert_array_equal(
        computed(function_of(found.kernel), found.kernel, (x, *found.constants)),
        found.kernel.reference(x, *found.constants),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"channels_out": 16}, "not a depthwise convolution"),
        ({"groups": 4}, "not a depthwise convolution"),
        ({"dilations": (1, 2)}, "the taps of neighbouring outputs do not make words"),
        ({"strides": (1, 3)}, "the taps of neighbouring outputs do not make words"),
        ({"kernel": (5, 3), "strides": (3, 1)}, "the taps of neighbouring outputs do not make words"),
    ],
)
def test_a_convolution_is_left_to_the_plain_kernel(changes: dict[str, Any], reason: str) -> None:
    assert specialize(call_of(depthwise(**changes)), DSP) == reason


def test_strides_and_dilations_across_the_pairs_may_be_anything() -> None:
    assert isinstance(specialize(call_of(depthwise(strides=(3, 1), dilations=(2, 1))), DSP), Special)


def test_a_target_without_the_dsp_extension_keeps_the_plain_kernel() -> None:
    assert specialize(call_of(depthwise()), load("cortex-m0plus")) == "cortex-m0plus has no DSP extension"


@pytest.mark.parametrize("size", [3, 24, 96, 400])
def test_strips_keep_to_the_scratch_aimed_at_and_are_even(size: int) -> None:
    kernel = fitted(depthwise(height=size, width=size), raised=0)
    (scratch,) = kernel.roles(Role.SCRATCH)
    assert scratch.bytes <= SCRATCH_BYTES or kernel.strip == 1
    strips = -(-size // kernel.strip)
    assert strips * kernel.strip - size < strips


def test_weights_take_a_third_more_flash_than_one_byte_each() -> None:
    found = specialize(call_of(depthwise()), DSP)
    assert isinstance(found, Special)
    assert found.constants[0].nbytes == 8 * 9 * 4 // 3
