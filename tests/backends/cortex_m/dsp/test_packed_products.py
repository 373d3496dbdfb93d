"""Convolutions and Gemm on packed weights: what the rules take and refuse, and results over many shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_code import compiled, computed

from bevel.backends.cortex_m.dsp import conv_dsp, gemm_dsp, subbyte_tiles_dsp
from bevel.backends.cortex_m.dsp.conv_dsp import ConvDsp
from bevel.backends.cortex_m.dsp.gemm_dsp import GemmDsp
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

M4, M0 = load("cortex-m4"), load("cortex-m0plus")
SHAPES = 24


def conv(**changes: Any) -> Conv:
    plain: dict[str, Any] = {
        "batch": 1,
        "height": 6,
        "width": 5,
        "channels_in": 4,
        "channels_out": 6,
        "kernel": (3, 3),
        "strides": (1, 1),
        "dilations": (1, 1),
        "pads": (1, 1, 1, 1),
        "groups": 1,
        "x_zero_point": -7,
        "output": Output(zero_point=-3),
    }
    return Conv(**(plain | changes))


def call_of(kernel: Kernel, seed: int = 0) -> tuple[Call, Array]:
    """A call of `kernel` with constants of its own, and an input."""
    x, *constants = kernel.example(np.random.default_rng(seed))
    return Call("node", kernel, ("x",), tuple(constants), "y"), x


def special(kernel: Kernel, seed: int = 0) -> tuple[Special, Array, Array]:
    """What the rules make of `kernel`, an input, and the output by `kernel` itself."""
    call, x = call_of(kernel, seed)
    found = gemm_dsp.specialize(call, M4)
    if not isinstance(found, Special):
        found = conv_dsp.specialize(call, M4)
    assert isinstance(found, Special), found
    return found, x, kernel.reference(x, *call.constants)


def some_conv(seed: int) -> Conv:
    rng = np.random.default_rng(seed)
    kernel = (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    low = int(rng.choice([-128, -20]))
    return conv(
        batch=int(rng.integers(1, 3)),
        height=int(rng.integers(kernel[0], 9)),
        width=int(rng.integers(kernel[1], 9)),
        channels_in=int(rng.integers(1, 10)),
        channels_out=int(rng.integers(1, 11)),
        kernel=kernel,
        strides=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        pads=tuple(int(pad) for pad in rng.integers(0, 1 + max(kernel) // 2, 4) * rng.integers(0, 2)),
        x_zero_point=int(rng.choice([-128, 0, 31, 127])),
        output=Output(int(rng.choice([-128, -3, 127])), low, int(rng.choice([127, 90]))),
    )


def test_convolutions_of_any_shape_compute_what_the_plain_ones_do(tmp_path: Path) -> None:
    found = [special(some_conv(seed), seed) for seed in range(SHAPES)]
    library = compiled({f"f{index}": one.kernel for index, (one, _, _) in enumerate(found)}, tmp_path)
    for index, (one, x, expected) in enumerate(found):
        given = (x, *one.constants)
        np.testing.assert_array_equal(one.kernel.reference(*given), expected, err_msg=str(one.kernel))
        got = computed(getattr(library, f"f{index}"), one.kernel, given)
        np.testing.assert_array_equal(got.reshape(expected.shape), expected, err_msg=str(one.kernel))
    kinds = {(type(one.kernel), one.kernel.apart) for one, _, _ in found}  # type: ignore[attr-defined]
    assert (ConvDsp, True) in kinds and (ConvDsp, False) in kinds


def test_a_convolution_of_single_pixels_becomes_a_product_of_all_of_them() -> None:
    found, x, expected = special(conv(kernel=(1, 1), pads=(0, 0, 0, 0), batch=2))
    assert isinstance(found.kernel, GemmDsp)
    assert (found.kernel.rows, found.kernel.k, found.kernel.n) == (2 * 6 * 5, 4, 6)
    got = found.kernel.reference(x.reshape(60, 4), *found.constants)
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


@pytest.mark.parametrize("change", [{"strides": (2, 1)}, {"pads": (0, 0, 0, 1)}])
def test_strides_or_padding_keep_a_convolution_of_single_pixels(change: dict[str, Any]) -> None:
    plain = conv(kernel=(1, 1), **({"pads": (0, 0, 0, 0)} | change))
    assert isinstance(special(plain)[0].kernel, ConvDsp)


def test_ratios_of_a_quarter_and_more_are_requantized_apart() -> None:
    call, _ = call_of(Gemm(rows=1, k=8, n=4, output=Output()))
    for ratio_bits, apart in ((33, False), (32, True)):
        shifts = np.array([ratio_bits, 40, 40, 40], np.int8)
        found = gemm_dsp.specialize(replace(call, constants=(*call.constants[:3], shifts)), M4)
        assert isinstance(found, Special) and isinstance(found.kernel, GemmDsp)
        assert found.kernel.apart == apart


def test_products_that_make_int16_are_taken_where_weights_have_eight_bits() -> None:
    call, _ = call_of(Gemm(rows=3, k=64, n=5, output=Output(-300, -(2**15), 2**15 - 1, "int16")))
    found = gemm_dsp.specialize(call, M4)
    assert isinstance(found, Special) and isinstance(found.kernel, GemmDsp) and found.kernel.apart
    assert "are no smaller as codes" in str(subbyte_tiles_dsp.specialize(call, M4))


def test_layers_that_differ_in_zero_points_share_a_function_unless_padding_holds_one() -> None:
    smooth = {"output": Output(zero_point=4), "x_zero_point": 9}
    shifts = np.full(6, 40, np.int8)

    def kernel(plain: Conv) -> Kernel:
        call, _ = call_of(plain)
        found = conv_dsp.specialize(replace(call, constants=(*call.constants[:3], shifts)), M4)
        assert isinstance(found, Special)
        return found.kernel

    assert kernel(conv(pads=(0, 0, 0, 0))) == kernel(conv(pads=(0, 0, 0, 0), **smooth))
    assert kernel(conv()) == kernel(conv(output=Output(zero_point=4)))
    assert kernel(conv()) != kernel(conv(x_zero_point=9))
    assert kernel(conv()) != kernel(conv(output=Output(zero_point=-3, high=4)))


@pytest.mark.parametrize(
    ("plain", "reason"),
    [
        (conv(groups=2), "grouped"),
        (conv(dilations=(2, 1)), "dilated"),
        (Gemm(rows=1, k=8, n=4, output=Output()), "no convolution"),
    ],
)
def test_the_rule_of_convolutions_says_what_it_does_not_take(plain: Kernel, reason: str) -> None:
    assert reason in str(conv_dsp.specialize(call_of(plain)[0], M4))


def test_nothing_is_packed_without_the_dsp_extension() -> None:
    assert "no DSP" in str(conv_dsp.specialize(call_of(conv())[0], M0))
    assert "no DSP" in str(gemm_dsp.specialize(call_of(Gemm(1, 8, 4, Output()))[0], M0))


def test_sums_that_may_leave_24_bits_stay_with_the_plain_kernel() -> None:
    call, _ = call_of(Gemm(rows=1, k=600, n=2, output=Output()))
    weights = np.full((2, 600), 127, np.int8)
    assert "24 bits" in str(gemm_dsp.specialize(replace(call, constants=(weights, *call.constants[1:])), M4))


def test_scratch_stays_within_a_strip_or_one_window() -> None:
    for seed in range(SHAPES):
        kernel = ConvDsp(some_conv(seed))
        assert kernel.strip_words(kernel.band) * 4 <= max(conv_dsp.STRIP_BYTES, kernel.strip_words(1) * 4)
