"""The rule for depthwise convolutions on coded weights, and its kernels at shapes that nobody chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_code import compiled, computed

from bevel.backends.cortex_m.dsp.subbyte_depthwise_dsp import SubbyteDepthwiseDsp, specialize
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

M7 = load("cortex-m7")
SHAPES = 14
LEVELS = [np.arange(-8, 8), np.arange(-4, 4), np.arange(-1, 2), np.array([-9, 0, 9]), np.arange(-31, 32), np.arange(16)]


def depthwise(channels: int = 64, **changes: Any) -> Conv:
    plain: dict[str, Any] = {"batch": 1, "height": 6, "width": 7, "kernel": (3, 3), "strides": (1, 1)}
    plain |= {"dilations": (1, 1), "pads": (1, 1, 1, 1), "x_zero_point": -128, "output": Output(-128)}
    return Conv(channels_in=channels, channels_out=channels, groups=channels, **(plain | changes))


def call_of(plain: Conv, levels: Array, seed: int = 0) -> tuple[Call, Array]:
    """A call with weights among `levels`, and an input."""
    rng = np.random.default_rng(seed)
    x, w, *rescaling = plain.example(rng)
    return Call("node", plain, ("x",), (rng.choice(levels, w.shape).astype(np.int8), *rescaling), "y"), x


def some_shape(seed: int) -> Conv:
    rng = np.random.default_rng(seed)
    kernel = (int(rng.integers(2, 6)), int(rng.integers(2, 6)))
    return depthwise(
        channels=int(rng.integers(30, 80)),
        height=int(rng.integers(kernel[0], 9)),
        width=int(rng.integers(kernel[1], 9)),
        kernel=kernel,
        strides=[(1, 1), (2, 2)][seed % 2],
        pads=tuple(int(pad) for pad in rng.integers(0, 2, 4)),
        x_zero_point=int(rng.choice([-128, 0, 127])),
        output=Output(int(rng.choice([-128, 5, 127]))),
    )


def test_layers_of_any_shape_compute_what_the_plain_ones_do(tmp_path: Path) -> None:
    calls = [call_of(some_shape(seed), LEVELS[seed % len(LEVELS)], seed) for seed in range(SHAPES)]
    answers = [specialize(call, M7) for call, _ in calls]
    found = [answer for answer in answers if isinstance(answer, Special)]
    assert len(found) == SHAPES, answers
    library = compiled({f"f{index}": one.kernel for index, one in enumerate(found)}, tmp_path)
    for index, (one, (call, x)) in enumerate(zip(found, calls, strict=True)):
        expected = call.kernel.reference(x, *call.constants)
        np.testing.assert_array_equal(one.kernel.reference(x, *one.constants), expected, err_msg=str(one.kernel))
        got = computed(getattr(library, f"f{index}"), one.kernel, (x, *one.constants))
        np.testing.assert_array_equal(got, expected, err_msg=str(one.kernel))


def test_four_bits_take_half_the_flash_of_the_int8_kernel() -> None:
    found = specialize(call_of(depthwise(), LEVELS[0])[0], M7)
    assert isinstance(found, Special) and isinstance(found.kernel, SubbyteDepthwiseDsp)
    assert found.constants[0].nbytes == 64 * 12 // 2


@pytest.mark.parametrize(
    ("channels", "levels", "reason"),
    [
        (64, np.arange(-127, 128), "no smaller as codes"),
        (4, np.arange(-8, 8), "no smaller as codes"),
        (64, np.array([-100, 0, 100]), "leave a byte"),
        (800, np.arange(-8, 8), "more than scratch is meant to hold"),
    ],
)
def test_the_rule_says_what_it_does_not_take(channels: int, levels: Array, reason: str) -> None:
    assert reason in str(specialize(call_of(depthwise(channels), levels)[0], M7))


def test_what_the_int8_kernel_refuses_is_refused() -> None:
    assert "do not make words" in str(specialize(call_of(depthwise(strides=(1, 3)), LEVELS[0])[0], M7))
    assert "no DSP" in str(specialize(call_of(depthwise(), LEVELS[0])[0], load("cortex-m0plus")))
