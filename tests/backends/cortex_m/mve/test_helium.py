"""Helium kernels, made by their rules, at shapes and of constants that nobody chose: their plain C on this machine."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_code import computed, function_of

from bevel.backends.cortex_m.mve.add_mve import AddMve
from bevel.backends.cortex_m.mve.conv_mve import ConvMve
from bevel.backends.cortex_m.mve.depthwise_mve import DepthwiseMve
from bevel.backends.cortex_m.mve.gemm_mve import GemmMve
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Role
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import MAX_SHIFT, Int8, Output

M55, M7 = load("cortex-m55"), load("cortex-m7")
EXAMPLES = settings(max_examples=20)

Layer = tuple[Any, tuple[Array, ...]]  # a plain kernel with its constants


def special(name: str, plain: Kernel, constants: tuple[Array, ...], target: Any = M55) -> Special | str:
    """What the rule of the module `name` answers."""
    inputs = [operand.name for operand in plain.roles(Role.INPUT)]
    call = Call("node", plain, tuple(inputs), constants, "y")
    found: Special | str = import_module(f"bevel.backends.cortex_m.mve.{name}").specialize(call, target)
    return found


def assert_exact(name: str, layer: Layer) -> Any:
    """The rule takes the layer, and its kernel and the reference of that give what the plain reference does, for inputs
    of any value and for the largest ones."""
    plain, constants = layer
    found = special(name, plain, constants)
    assert isinstance(found, Special), found
    kernel, function = found.kernel, function_of(found.kernel)
    for kind in ("any", "ends", "lowest"):
        inputs = [codes(np.random.default_rng(seed), a.shape, kind) for seed, a in enumerate(plain.roles(Role.INPUT))]
        given_arrays, expected = (*inputs, *found.constants), plain.reference(*inputs, *constants)
        np.testing.assert_array_equal(kernel.reference(*given_arrays), expected)
        for over_input in {False, kernel.in_place}:
            np.testing.assert_array_equal(computed(function, kernel, given_arrays, over_input), expected)
    return kernel


def codes(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Int8:
    if kind == "lowest":
        return np.full(shape, -128, np.int8)
    if kind == "ends":
        return rng.choice(np.array([-128, 127], np.int8), shape)
    return rng.integers(-128, 128, shape, dtype=np.int8)


def channel_of_weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Int8:
    """Of any value, or of the largest ones, or a single one of 1 or -1: sums so small that multiplying them by 1 and
    more leaves them within int8."""
    kind = rng.choice(["any", "any", "single", "ends", "lowest"])
    if kind != "single":
        return codes(rng, shape, str(kind))
    w = np.zeros(shape, np.int8)
    w.flat[rng.integers(w.size)] = rng.choice([-1, 1])
    return w


def bound_of(w: Int8, bias: int = 0) -> int:
    """The largest magnitude of one channel's sum."""
    return 128 * int(np.abs(w.astype(np.int64)).sum()) + abs(bias)


def least_shift(bound: int) -> int:
    """Sums are moved left by 33 less their shift, and have 31 bits and a sign to be moved in."""
    return 33 - (31 - bound.bit_length())


def channel_of_rescaling(rng: np.random.Generator, w: Int8, lowest: int) -> tuple[int, int, int]:
    """Bias, multiplier and shift for the weights of one channel. Most spread its sums over int8; the others are as
    large as there is room for, or small, or nothing."""
    deviation = 74 * float(np.sqrt((w.astype(np.float64) ** 2).sum())) + 1
    sizes = [int(rng.uniform(0, 2 * deviation)), 2**31 - 1 - bound_of(w)]
    bias = int(rng.choice([-1, 1])) * sizes[rng.random() < 0.1]
    least = max(lowest, least_shift(bound_of(w, bias)))
    spread = round(31 + np.log2(deviation / 40)) + int(rng.integers(-1, 2))
    shift = (*[spread] * 6, least, int(rng.integers(32, 35)), int(rng.integers(least, MAX_SHIFT + 1)))[rng.integers(9)]
    multiplier = (*[int(rng.integers(2**30, 2**31))] * 6, 2**30, 2**31 - 1, 0)[rng.integers(9)]
    return bias, multiplier, max(least, shift) if multiplier else MAX_SHIFT


@st.composite
def constants(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """w[n, ..] of `shape` with biases and rescalings that its sums have room for, in half the layers none below 33."""
    rng, lowest = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.sampled_from([1, 33]))
    w = np.stack([channel_of_weights(rng, shape[1:]) for _ in range(shape[0])])
    rescaling = np.array([channel_of_rescaling(rng, channel, lowest) for channel in w], np.int64)
    bias, multiplier, shift = rescaling.T
    return w, bias.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.int8)


CODES = st.sampled_from([-128, 127]) | st.integers(-128, 127)
SMALL = st.integers(1, 3)
CHANNELS = st.integers(1, 20) | st.sampled_from([16, 32, 48])


@st.composite
def stores(draw: st.DrawFn) -> Output:
    low, high = draw(st.sampled_from([(-128, 127), (-128, 100), (-100, 127), (-90, 99)]))
    return Output(draw(CODES), low, high)


def layers_of(plain: Conv | Gemm) -> st.SearchStrategy[Layer]:
    return st.tuples(st.just(plain), constants(plain.operands()[1].shape))


@st.composite
def axes(draw: st.DrawFn, taps: int, stride: int, dilation: int, least: int = 1) -> tuple[int, int, int]:
    """(size, padding before, padding after) of an axis on which a window has `least` positions or more."""
    before, after = draw(st.integers(0, taps)), draw(st.integers(0, taps))
    reach = dilation * (taps - 1) + 1 + stride * (least - 1)
    return max(1, reach - before - after + draw(st.integers(0, 8))), before, after


@st.composite
def convolutions(
    draw: st.DrawFn,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int] = (1, 1),
    groups: int = 1,
    least: int = 1,
) -> Layer:
    """Of any size and padding with `least` positions or more along both axes; depthwise where there are groups."""
    height, top, bottom = draw(axes(kernel[0], strides[0], dilations[0], least))
    width, left, right = draw(axes(kernel[1], strides[1], dilations[1], least))
    plain = Conv(
        batch=draw(st.integers(1, 2)),
        height=height,
        width=width,
        channels_in=groups if groups > 1 else draw(CHANNELS),
        channels_out=groups if groups > 1 else draw(st.integers(1, 19)),
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=(top, left, bottom, right),
        groups=groups,
        x_zero_point=draw(CODES),
        output=draw(stores()),
    )
    return draw(layers_of(plain))


UP_TO_FOUR = st.tuples(st.integers(1, 4), st.integers(1, 4))


@EXAMPLES
@given(st.data(), UP_TO_FOUR | st.tuples(st.integers(1, 11), st.integers(1, 2)), st.tuples(SMALL, SMALL), SMALL, SMALL)
def test_convolutions_are_computed_exactly(
    data: st.DataObject, kernel: tuple[int, int], strides: tuple[int, int], down: int, right: int
) -> None:
    dilations = down, right if kernel[1] == 1 else 1
    assert_exact("conv_mve", data.draw(convolutions(kernel, strides, dilations)))


@st.composite
def pointwise_layers(draw: st.DrawFn) -> Layer:
    plain, _ = draw(convolutions((1, 1), draw(st.tuples(SMALL, SMALL))))
    whole = replace(plain, pads=(0, 0, 0, 0), channels_in=16 * draw(st.integers(1, 6)))
    return draw(layers_of(whole))


@EXAMPLES
@given(pointwise_layers())
def test_convolutions_of_pixels_that_are_whole_vectors_are_computed_exactly_in_place(layer: Layer) -> None:
    assert assert_exact("conv_mve", layer).pointwise


@EXAMPLES
@given(
    st.data(),
    st.integers(1, 4),
    st.integers(1, 130) | st.integers(1, 9).map(lambda k: 16 * k),
    st.integers(1, 19),
    stores(),
)
def test_gemm_is_computed_exactly(data: st.DataObject, rows: int, k: int, n: int, output: Output) -> None:
    kernel = assert_exact("gemm_mve", data.draw(layers_of(Gemm(rows, k, n, output))))
    assert kernel.in_vectors == (k % 16 == 0)


@EXAMPLES
@given(st.data(), st.tuples(SMALL, SMALL), st.integers(2, 35))
def test_depthwise_convolutions_in_squares_are_computed_exactly(
    data: st.DataObject, kernel: tuple[int, int], channels: int
) -> None:
    layer = data.draw(convolutions(kernel, strides=(1, 1), groups=channels, least=2))
    assert assert_exact("depthwise_mve", layer).squares


@EXAMPLES
@given(st.data(), UP_TO_FOUR, st.tuples(SMALL, SMALL), st.tuples(SMALL, SMALL), st.integers(2, 35))
def test_depthwise_convolutions_in_rows_are_computed_exactly(
    data: st.DataObject, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int], channels: int
) -> None:
    assert_exact("depthwise_mve", data.draw(convolutions(kernel, strides, dilations, channels)))


@st.composite
def additions(draw: st.DrawFn) -> Layer:
    """Multipliers and an offset of either sign whose sums spread over int8, or reach the very ends of int32."""
    shape = draw(st.tuples(st.integers(1, 70)) | st.lists(st.integers(1, 7), min_size=2, max_size=4).map(tuple))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most, shift = 2**31 - 1 - 128, draw(st.integers(0, 30))
    a = int(rng.integers(0, min(2**shift, most // 128), endpoint=True))
    b = int(rng.integers(0, min(2**shift, most // 128 - a), endpoint=True))
    room = most - 128 * (a + b)
    offset = room if draw(st.sampled_from([False, False, True])) else min(room, 2**shift // 2 + 40 * b)
    a, b, offset = (int(rng.choice([-1, 1])) * value for value in (a, b, offset))
    return Add(shape, shape, shape, a, b, offset, shift, draw(stores())), ()


@EXAMPLES
@given(additions())
def test_additions_are_computed_exactly_over_their_input_too(layer: Layer) -> None:
    assert assert_exact("add_mve", layer).in_place


def conv(**changes: Any) -> Conv:
    plain = Conv(1, 12, 10, 8, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, -128, Output(-128))
    return replace(plain, **changes)


def depthwise(channels: int, **changes: Any) -> Conv:
    return conv(channels_in=channels, channels_out=channels, groups=channels, **changes)


def example(plain: Kernel) -> tuple[Array, ...]:
    """Constants of an ordinary layer."""
    return plain.example(np.random.default_rng(0))[len(plain.roles(Role.INPUT)) :]


DENSE = Gemm(rows=2, k=24, n=5, output=Output(3))
ADD = Add((4, 8), (4, 8), (4, 8), 700_001, 523_456, 2**19, 20, Output(-7))


@pytest.mark.parametrize(
    ("name", "plain", "kind"),
    [
        (
            "conv_mve",
            conv(height=49, width=10, channels_in=1, channels_out=64, kernel=(10, 4), strides=(2, 2)),
            ConvMve,
        ),
        ("conv_mve", conv(channels_in=3, channels_out=16, strides=(2, 2), pads=(0, 0, 1, 1)), ConvMve),
        ("conv_mve", conv(channels_in=256, channels_out=64), ConvMve),
        ("conv_mve", conv(channels_in=8, channels_out=16, kernel=(1, 1), pads=(0, 0, 0, 0)), ConvMve),
        ("conv_mve", conv(channels_in=128, channels_out=256, kernel=(1, 1), pads=(0, 0, 0, 0)), ConvMve),
        ("depthwise_mve", depthwise(64), DepthwiseMve),
        ("depthwise_mve", depthwise(32, strides=(2, 2), pads=(0, 0, 1, 1)), DepthwiseMve),
        ("gemm_mve", Gemm(rows=1, k=640, n=128, output=Output(-128)), GemmMve),
        ("gemm_mve", Gemm(rows=1, k=4096, n=10, output=Output(4)), GemmMve),
        ("add_mve", ADD, AddMve),
    ],
)
def test_a_layer_of_an_ordinary_network_is_taken(name: str, plain: Kernel, kind: type[Kernel]) -> None:
    found = special(name, plain, example(plain))
    assert isinstance(found, Special) and isinstance(found.kernel, kind), found


@settings(max_examples=50)
@given(
    st.sampled_from([("conv_mve", conv()), ("depthwise_mve", depthwise(6)), ("gemm_mve", DENSE)]),
    st.data(),
    st.integers(0, 4),
)
def test_a_shift_below_what_the_sums_have_room_for_leaves_a_layer_to_the_plain_kernel(
    layer: tuple[str, Kernel], data: st.DataObject, channel: int
) -> None:
    name, plain = layer
    w, bias, multiplier, shift = data.draw(constants(plain.operands()[1].shape))
    shift[channel] = least_shift(bound_of(w[channel], int(bias[channel])))
    assert isinstance(special(name, plain, (w, bias, multiplier, shift)), Special)
    shift[channel] -= 1
    assert "no room in 32 bits" in str(special(name, plain, (w, bias, multiplier, shift)))


@pytest.mark.parametrize(
    ("name", "plain", "reason"),
    [
        ("conv_mve", depthwise(8), "8 groups"),
        ("conv_mve", conv(dilations=(1, 2)), "not neighbours"),
        ("conv_mve", DENSE, "not a Conv"),
        ("depthwise_mve", conv(channels_out=16, groups=8), "8 groups of 8 channels"),
        ("depthwise_mve", conv(groups=4), "4 groups of 8 channels"),
        ("depthwise_mve", depthwise(8, kernel=(5, 3)), "5 x 3 is more than a vector"),
        ("depthwise_mve", depthwise(8, kernel=(1, 5)), "1 x 5 is more than a vector"),
        ("gemm_mve", conv(), "not a Gemm"),
        ("add_mve", replace(ADD, b_shape=(8,)), "broadcast"),
        ("add_mve", DENSE, "not an Add"),
    ],
)
def test_a_layer_is_left_to_the_plain_kernel_with_a_reason(name: str, plain: Kernel, reason: str) -> None:
    assert reason in str(special(name, plain, example(plain)))


@pytest.mark.parametrize(
    ("name", "plain"),
    [("conv_mve", conv()), ("depthwise_mve", depthwise(8)), ("gemm_mve", DENSE), ("add_mve", ADD)],
)
def test_a_target_without_helium_keeps_the_plain_kernel(name: str, plain: Kernel) -> None:
    assert special(name, plain, example(plain), M7) == "cortex-m7 has no Helium"
