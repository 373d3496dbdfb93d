"""Conv and Gemm on Helium with several channels in a byte: layers of any shape and weights, in plain C here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_code import computed, function_of

from bevel.backends.cortex_m.mve.positional_mve import Digits, PositionalConvMve, PositionalGemmMve, specialize
from bevel.backends.cortex_m.mve.subbyte_conv_mve import SubbyteConvMve
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import MAX_SHIFT, Output

M55 = load("cortex-m55")
E2M1 = np.array([-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12])
GEMM = Gemm(1, 200, 21, Output(9))


def conv(**changes: Any) -> Conv:
    plain: dict[str, Any] = {"batch": 1, "height": 3, "width": 1, "channels_in": 16, "channels_out": 18}
    plain |= {"kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    return Conv(**(plain | {"x_zero_point": -7, "output": Output(-3)} | changes))


def call_of(plain: Conv | Gemm, levels: Array, seed: int = 0) -> tuple[Call, Array]:
    """A call with weights among `levels`, the first and the last of them too, and an input."""
    rng = np.random.default_rng(seed)
    x, w, *rescaling = plain.example(rng)
    chosen = rng.choice(levels, w.shape).astype(np.int8)
    chosen.flat[:2] = levels[0], levels[-1]
    return Call("node", plain, ("x",), (chosen, *rescaling), "y"), x


def taken(call: Call) -> Special:
    found = specialize(call, M55)
    assert isinstance(found, Special), found
    return found


@st.composite
def digits_of(draw: st.DrawFn) -> Digits:
    bits = draw(st.sampled_from([2, 4]))
    half = 2 ** (bits - 1)
    return Digits(bits, draw(st.just(-half) | st.integers(1 - 2 * half, 0)))


SMALL = st.integers(1, 3)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    """Of up to six pixels, with so many weights that these do not make decoding worth while."""
    kernel, strides = draw(st.tuples(SMALL, SMALL)), draw(st.tuples(SMALL, SMALL))
    rows, columns = draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (3, 1), (2, 2), (2, 3)]))
    dilation = draw(SMALL)
    pads = draw(st.tuples(*[st.integers(0, 1)] * 4))
    return conv(
        height=max(1, dilation * (kernel[0] - 1) + 1 + strides[0] * (rows - 1) - pads[0] - pads[2]),
        width=max(1, kernel[1] + strides[1] * (columns - 1) - pads[1] - pads[3]),
        channels_in=draw(st.integers(17, 40) | st.just(32)),
        channels_out=draw(st.integers(5, 19)),
        kernel=kernel,
        strides=strides,
        dilations=(dilation, 1),
        pads=pads,
        x_zero_point=draw(st.integers(-128, 127)),
        output=Output(draw(st.integers(-128, 127)), -120, 119),
    )


GEMMS = st.builds(Gemm, st.integers(1, 3), st.integers(17, 100), st.integers(9, 27), st.just(Output(-4)))


@settings(max_examples=12, deadline=None)
@given(convolutions() | GEMMS, digits_of(), st.integers(0, 2**32 - 1), st.sampled_from(["any", "ends", "lowest"]))
def test_layers_of_any_shape_and_digits_are_computed_exactly(
    plain: Conv | Gemm, digits: Digits, seed: int, kind: str
) -> None:
    call, x = call_of(plain, np.arange(digits.least, digits.least + 2**digits.bits), seed)
    if kind == "ends":
        some = call.constants[0][:4]
        some[...] = np.where(some & 1, digits.least, digits.least + 2**digits.bits - 1)
        x = np.where(x & 1, -128, 127).astype(np.int8)
    if kind == "lowest":
        x = np.full_like(x, -128)
    found = taken(call)
    assert isinstance(found.kernel, PositionalConvMve | PositionalGemmMve)
    expected = plain.reference(x, *call.constants)
    np.testing.assert_array_equal(found.kernel.reference(x, *found.constants), expected)
    np.testing.assert_array_equal(
        computed(function_of(found.kernel), found.kernel, (x, *found.constants)).reshape(expected.shape), expected
    )


@given(digits_of(), st.integers(1, 3), st.integers(1, 3), st.sampled_from([4, 8]), st.integers(0, 2**32 - 1))
def test_digits_come_back_from_bytes(digits: Digits, tiles: int, blocks: int, tile: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = rng.integers(digits.least, digits.least + 2**digits.bits, (tiles, blocks, tile, 16)).astype(np.int8)
    packed = digits.pack(w)
    assert packed.nbytes == w.size * digits.bits // 8
    np.testing.assert_array_equal(digits.unpack(packed), w)


def test_the_last_channel_of_a_byte_is_signed() -> None:
    w = np.zeros((1, 1, 4, 16), np.int8)
    w[0, 0, :, 0] = -8, -7, 7, -1
    assert Digits(4, -8).pack(w)[0, 0, :, 0].tolist() == [-7 * 16 + 0, -1 * 16 + 15]
    w[0, 0, :, 0] = -2, -1, 0, 1
    assert Digits(2, -2).pack(w)[0, 0, :, 0].tolist() == [0 + 4 * 1 + 16 * 2 + 64 * 1]


@pytest.mark.parametrize(("levels", "share"), [(np.arange(-8, 8), 2), (np.arange(-1, 2), 4)])
def test_flash_shrinks_with_the_bits(levels: Array, share: int) -> None:
    call, _ = call_of(conv(channels_in=64, channels_out=32), levels)
    assert taken(call).constants[0].nbytes == call.constants[0].size // share


def test_many_pixels_have_their_weights_decoded() -> None:
    few, many = (call_of(conv(height=size, width=size), np.arange(-8, 8))[0] for size in (2, 32))
    assert isinstance(specialized(few, M55).kernel, PositionalConvMve)
    assert "so many pixels" in str(specialize(many, M55))
    assert isinstance(specialized(many, M55).kernel, SubbyteConvMve)


def test_a_channel_without_a_multiplier_keeps_its_shift() -> None:
    call, x = call_of(GEMM, np.arange(-8, 8))
    w, bias, multiplier, shift = call.constants
    multiplier[1], shift[1] = 0, MAX_SHIFT
    found = taken(call)
    expected = GEMM.reference(x, w, bias, multiplier, shift)
    np.testing.assert_array_equal(found.kernel.reference(x, *found.constants), expected)
    multiplier[1] = 2**30
    assert "shifted right by 66" in str(specialize(call, M55))


def test_a_sum_that_leaves_no_room_to_move_left_is_decoded() -> None:
    call, _ = call_of(replace(GEMM, k=640, n=128), np.arange(-8, 8))
    call.constants[1][1] = 2**27
    call.constants[3][1] = 40
    assert "no room in 32 bits" in str(specialize(call, M55))
    assert isinstance(specialized(call, M55).kernel, SubbyteConvMve)


@pytest.mark.parametrize(
    ("plain", "levels", "target", "reason"),
    [
        (conv(), np.arange(-127, 128), "cortex-m55", "no smaller as codes"),
        (conv(), np.arange(-4, 4), "cortex-m55", "fill no byte"),
        (conv(), E2M1, "cortex-m55", "fill no byte"),
        (conv(), np.array([-3, 0, 3]), "cortex-m55", "fill no byte"),
        (conv(groups=2), np.arange(-8, 8), "cortex-m55", "groups"),
        (conv(), np.arange(-8, 8), "cortex-m7", "no Helium"),
        (GEMM, np.arange(-8, 8), "cortex-m7", "no Helium"),
    ],
)
def test_a_layer_is_left_alone_with_a_reason(plain: Conv | Gemm, levels: Array, target: str, reason: str) -> None:
    assert reason in str(specialize(call_of(plain, levels)[0], load(target)))
