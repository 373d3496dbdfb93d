"""The rule for depthwise convolutions on coded weights with Helium."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.backends.cortex_m.mve.subbyte_depthwise_mve import SubbyteDepthwiseMve, specialize
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

M55 = load("cortex-m55")


def call_of(levels: Array, channels: int = 64, **changes: Any) -> tuple[Call, Array]:
    """A depthwise call with weights among `levels`, and an input."""
    plain: dict[str, Any] = {"batch": 1, "height": 6, "width": 7, "kernel": (3, 3), "strides": (1, 1)}
    plain |= {"dilations": (1, 1), "pads": (1, 1, 1, 1), "x_zero_point": -128, "output": Output(-128)}
    conv = Conv(channels_in=channels, channels_out=channels, groups=channels, **(plain | changes))
    rng = np.random.default_rng(0)
    x, w, *rescaling = conv.example(rng)
    return Call("node", conv, ("x",), (rng.choice(levels, w.shape).astype(np.int8), *rescaling), "y"), x


@pytest.mark.parametrize(
    ("levels", "bits"),
    [
        (np.arange(-8, 8), 4),
        (np.arange(-1, 2), 2),
        (np.array([-5, 5]), 1),
        (np.array([-128, -64, 0, 64]), 2),
        (np.array([-100, -9, 0, 1, 99]), 3),
    ],
)
def test_outputs_are_those_of_the_plain_layer(levels: Array, bits: int) -> None:
    call, x = call_of(levels, channels=65)
    found = specialized(call, M55)
    assert isinstance(found.kernel, SubbyteDepthwiseMve) and found.kernel.codes.bits == bits
    np.testing.assert_array_equal(
        found.kernel.reference(x, *found.constants), call.kernel.reference(x, *call.constants)
    )
    assert found.constants[0].nbytes == -(-65 * 9 // 128) * 16 * bits


@pytest.mark.parametrize(
    ("levels", "changes", "reason"),
    [
        (np.arange(-127, 128), {}, "no smaller as codes"),
        (np.arange(-8, 8), {"channels": 8}, "no smaller as codes"),
        (np.arange(-8, 8), {"channels": 2000}, "more than scratch is meant to hold"),
        (np.arange(-8, 8), {"kernel": (5, 3)}, "more than a vector"),
    ],
)
def test_the_rule_says_what_it_does_not_take(levels: Array, changes: dict[str, Any], reason: str) -> None:
    assert reason in str(specialize(call_of(levels, **changes)[0], M55))


def test_a_core_without_helium_keeps_its_own_kernels() -> None:
    assert "no Helium" in str(specialize(call_of(np.arange(-8, 8))[0], load("cortex-m7")))
