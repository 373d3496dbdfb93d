"""The rule for convolutions and Gemm on coded weights, and its kernels at shapes that nobody chose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_code import compiled, computed, function_of

from bevel.backends.cortex_m.dsp.gemm_dsp import GemmDsp
from bevel.backends.cortex_m.dsp.subbyte_tiles_dsp import SubbyteTilesDsp, specialize
from bevel.backends.encodings.subbyte import SubbyteCodes
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

M7 = load("cortex-m7")
SHAPES = 20
LEVELS = {
    "int4": np.arange(-8, 8),
    "int3": np.arange(-4, 4),
    "ternary": np.arange(-1, 2),
    "binary": np.array([-5, 5]),
    "int6": np.arange(-31, 32),
    "e2m1": np.array([-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12]),
}


def conv(**changes: Any) -> Conv:
    plain: dict[str, Any] = {"batch": 1, "height": 6, "width": 5, "channels_in": 16, "channels_out": 12}
    plain |= {"kernel": (3, 3), "strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    return Conv(**(plain | {"x_zero_point": -7, "output": Output(zero_point=-3)} | changes))


def call_of(plain: Conv | Gemm, levels: Array, seed: int = 0) -> tuple[Call, Array]:
    """A call with weights among `levels`, and an input."""
    rng = np.random.default_rng(seed)
    x, w, bias, multiplier, shift = plain.example(rng)
    weights = rng.choice(levels, w.shape).astype(np.int8)
    return Call("node", plain, ("x",), (weights, bias, multiplier, shift), "y"), x


def special(call: Call) -> Special:
    found = specialize(call, M7)
    assert isinstance(found, Special), found
    return found


def with_shift(call: Call, shift: int) -> Call:
    w, bias, multiplier, shifts = call.constants
    return replace(call, constants=(w, bias, np.full_like(multiplier, 2**30), np.full_like(shifts, shift)))


def some_shape(seed: int) -> Conv | Gemm:
    rng = np.random.default_rng(seed)
    bounds = Output(int(rng.choice([-128, -3, 127])), int(rng.choice([-128, -20])), int(rng.choice([127, 90])))
    if seed % 3 == 0:
        return Gemm(int(rng.integers(1, 6)), int(rng.integers(40, 300)), int(rng.integers(8, 40)), bounds)
    return conv(
        batch=int(rng.integers(1, 3)),
        channels_in=int(rng.integers(4, 40)),
        channels_out=int(rng.integers(9, 30)),
        kernel=(int(rng.integers(1, 4)), int(rng.integers(2, 4))),
        strides=(int(rng.integers(1, 3)), int(rng.integers(1, 3))),
        pads=tuple(int(pad) for pad in rng.integers(0, 2, 4)),
        x_zero_point=int(rng.choice([-128, 0, 31, 127])),
        output=bounds,
    )


def test_layers_of_any_shape_compute_what_the_plain_ones_do(tmp_path: Path) -> None:
    names = [*LEVELS] * SHAPES
    calls = [call_of(some_shape(seed), LEVELS[names[seed]], seed) for seed in range(SHAPES)]
    found = [special(call) for call, _ in calls]
    library = compiled({f"f{index}": one.kernel for index, one in enumerate(found)}, tmp_path)
    for index, (one, (call, x)) in enumerate(zip(found, calls, strict=True)):
        expected = call.kernel.reference(x, *call.constants)
        got = computed(getattr(library, f"f{index}"), one.kernel, (x, *one.constants))
        np.testing.assert_array_equal(got.reshape(expected.shape), expected, err_msg=str(one.kernel))
        mirrored = one.kernel.reference(x.reshape(one.kernel.operands()[0].shape), *one.constants)
        np.testing.assert_array_equal(mirrored.reshape(expected.shape), expected, err_msg=str(one.kernel))
    kernels = [one.kernel for one in found if isinstance(one.kernel, SubbyteTilesDsp)]
    assert len({kernel.codes.bits for kernel in kernels}) >= 4
    assert {kernel.group < kernel.blocks for kernel in kernels} == {True, False}


@pytest.mark.parametrize(("levels", "share"), [("int4", 0.52), ("int3", 0.4), ("ternary", 0.27), ("binary", 0.15)])
def test_flash_shrinks_with_the_bits(levels: str, share: float) -> None:
    call, _ = call_of(conv(channels_in=64, channels_out=64), LEVELS[levels])
    constants = special(with_shift(call, 40)).constants
    assert sum(array.nbytes for array in constants) <= share * (64 * 64 * 9 + 10 * 64)


@pytest.mark.parametrize("weight", [-8, 7])
@pytest.mark.parametrize("pixel", [-128, 127])
def test_the_largest_sums_do_not_wrap(weight: int, pixel: int) -> None:
    call, x = call_of(Gemm(rows=2, k=600, n=8, output=Output()), np.array([weight]))
    found, x = special(call), np.full_like(x, pixel)
    got = computed(function_of(found.kernel), found.kernel, (x, *found.constants))
    np.testing.assert_array_equal(got.reshape(2, 8), call.kernel.reference(x, *call.constants))


@pytest.mark.parametrize(("shift", "stride", "apart"), [(33, 1, False), (31, 4, False), (30, 8, False), (26, 1, True)])
def test_ratios_that_a_block_cannot_store_go_into_the_weights_while_these_have_room(
    shift: int, stride: int, apart: bool
) -> None:
    call, x = call_of(conv(), LEVELS["int4"])
    found = special(with_shift(call, shift))
    assert isinstance(found.kernel, SubbyteTilesDsp)
    assert (found.kernel.codes.stride, found.kernel.inner.apart) == (stride, apart)
    expected = call.kernel.reference(x, *with_shift(call, shift).constants)
    np.testing.assert_array_equal(found.kernel.reference(x, *found.constants), expected)


def test_a_ratio_stays_where_lifted_weights_would_make_sums_too_large() -> None:
    call, x = call_of(Gemm(rows=1, k=2000, n=12, output=Output()), np.array([-8, 7]))
    call = with_shift(call, 29)
    found = special(call)
    assert isinstance(found.kernel, SubbyteTilesDsp) and found.kernel.inner.apart
    np.testing.assert_array_equal(
        found.kernel.reference(x, *found.constants), call.kernel.reference(x, *call.constants)
    )


def test_a_single_row_needs_no_more_scratch_than_a_few_blocks() -> None:
    kernel = SubbyteTilesDsp(GemmDsp(rows=1, k=640, n=128, output=Output()), SubbyteCodes(4, least=-8))
    assert kernel.group == 1
    assert kernel.operands()[-1].bytes == 4 * (640 + 10)


def test_weights_of_eight_bits_stay_with_the_int8_kernels() -> None:
    call, _ = call_of(conv(), np.arange(-127, 128))
    assert "no smaller as codes" in str(specialize(call, M7))


def test_what_int8_tiles_refuse_is_refused() -> None:
    assert "grouped" in str(specialize(call_of(conv(groups=2), LEVELS["int4"])[0], M7))
    assert "no DSP" in str(specialize(call_of(conv(), LEVELS["int4"])[0], load("cortex-m0plus")))
