"""The rule for convolutions and Gemm on coded weights with Helium, and the planes of vectors they are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.cortex_m.mve.subbyte_conv_mve import (
    GROUP_BYTES,
    SubbyteConvMve,
    from_planes,
    in_planes,
    specialize,
)
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

M55 = load("cortex-m55")
E2M1 = np.array([-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12])


def conv(**changes: Any) -> Conv:
    plain: dict[str, Any] = {"batch": 1, "height": 5, "width": 3, "channels_in": 16, "channels_out": 18}
    plain |= {"kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    return Conv(**(plain | {"x_zero_point": -7, "output": Output(zero_point=-3)} | changes))


def call_of(plain: Conv | Gemm, levels: Array) -> tuple[Call, Array]:
    """A call with weights among `levels`, and an input."""
    rng = np.random.default_rng(0)
    x, w, *rescaling = plain.example(rng)
    return Call("node", plain, ("x",), (rng.choice(levels, w.shape).astype(np.int8), *rescaling), "y"), x


@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32))
def test_codes_come_back_from_planes_of_vectors(bits: int, pairs: int, eights: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**bits, (pairs, 8 * eights, 16), dtype=np.uint8)
    stored = in_planes(codes, bits)
    assert stored.shape == (pairs, eights * bits * 16)
    np.testing.assert_array_equal(from_planes(stored, bits), codes)


def test_a_vector_of_four_bits_holds_two_of_codes() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (1, 8, 16), dtype=np.uint8)
    np.testing.assert_array_equal(in_planes(codes, 4)[0, :16], codes[0, 0] | codes[0, 1] << 4)


@pytest.mark.parametrize("levels", [np.arange(-8, 8), np.arange(-1, 2), E2M1, np.arange(-31, 32)])
@pytest.mark.parametrize(
    "plain", [conv(), conv(channels_in=128, channels_out=64), Gemm(3, 50, 21, Output(zero_point=9))]
)
def test_outputs_are_those_of_the_plain_layer(plain: Conv | Gemm, levels: Array) -> None:
    call, x = call_of(plain, levels)
    found = specialize(call, M55)
    assert isinstance(found, Special) and isinstance(found.kernel, SubbyteConvMve)
    expected = plain.reference(x, *call.constants)
    got = found.kernel.reference(x.reshape(found.kernel.operands()[0].shape), *found.constants)
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)
    assert found.kernel.operands()[-1].bytes <= GROUP_BYTES


def test_four_bits_take_half_the_flash() -> None:
    call, _ = call_of(conv(channels_out=64), np.arange(-8, 8))
    found = specialize(call, M55)
    assert isinstance(found, Special) and found.constants[0].nbytes == 64 * 16 * 9 // 2


def test_what_the_int8_kernel_refuses_and_weights_of_eight_bits_are_refused() -> None:
    assert "no smaller as codes" in str(specialize(call_of(conv(), np.arange(-127, 128))[0], M55))
    assert "groups" in str(specialize(call_of(conv(groups=2), np.arange(-8, 8))[0], M55))
    assert "no Helium" in str(specialize(call_of(conv(), np.arange(-8, 8))[0], load("cortex-m7")))
