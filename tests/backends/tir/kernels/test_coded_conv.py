"""Kernels with weights at their true width: when they are taken, what they cost in flash, and that they are shared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.backends import target as targets
from bevel.backends.encodings import coded
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.coded_conv import SCRATCH_BYTES, CodedConv, call_of, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.tir.rules.coded_conv import specialize
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.formats.coded import counted

HOST = targets.load("host")


def conv(channels: tuple[int, int] = (32, 32), **changes: Any) -> Conv:
    plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    return Conv(1, 6, 6, *channels, (3, 3), **(plain | {"x_zero_point": -128, "output": Output()} | changes))


def call(kernel: Conv | Gemm, bits: int, seed: int = 0) -> tuple[Call, np.ndarray]:
    """A call whose weights take `bits` bits, and an input."""
    rng = np.random.default_rng(seed)
    x, w, *rescaling = kernel.example(rng)
    limit = 2 ** (bits - 1)
    values = rng.integers(-limit, limit, w.shape).astype(np.int8)
    return Call("node", kernel, ("x",), (values, *rescaling), "y"), x


def specialized(kernel: Conv | Gemm, bits: int) -> Special:
    found = specialize(call(kernel, bits)[0], HOST)
    assert isinstance(found, Special)
    return found


@pytest.mark.parametrize("kernel", [conv(), conv((33, 6)), conv((480, 480), groups=480), Gemm(3, 640, 9, Output())])
@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_the_kernel_computes_what_the_plain_one_does(kernel: Conv | Gemm, bits: int) -> None:
    before, x = call(kernel, bits)
    found = specialized(kernel, bits)
    assert isinstance(found.kernel, CodedConv)
    plain = found.kernel.plain
    expected = kernel.reference(x, *before.constants)
    got = found.kernel.reference(x.reshape(1, plain.height, plain.width, -1), *found.constants)
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("kernel", [conv(), conv((480, 480), groups=480), Gemm(1, 640, 64, Output())])
def test_packed_weights_take_the_bits_they_have_and_a_few_bytes(kernel: Conv | Gemm, bits: int) -> None:
    weights = call(kernel, bits)[0].constants[0]
    packed = specialized(kernel, bits).constants[0]
    passes = packed.shape[0]
    assert packed.nbytes <= weights.size * bits / 8 + passes * bits


def test_weights_of_eight_bits_stay_as_they_are() -> None:
    assert specialize(call(conv(), 8)[0], HOST) == "codes of 8 bits would save 0 bytes"


def test_small_weights_stay_as_they_are_because_decoding_is_code() -> None:
    answer = specialize(call(conv((3, 8)), 4)[0], HOST)
    assert answer == "codes of 4 bits would save 108 bytes"


def test_a_kernel_without_weights_is_left_alone() -> None:
    clip = Call("node", Clip(8, -3, 5), ("x",), (), "y")
    assert specialize(clip, HOST) == "no weights"


def test_layers_with_other_weights_and_the_same_shape_share_a_function() -> None:
    e2m1 = np.array([-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12])
    rng = np.random.default_rng(0)
    rescaling = conv().example(rng)[2:]

    def kernel(table: np.ndarray) -> object:
        weights = rng.choice(table, (32, 3, 3, 32))
        stored = coded.shortest(weights, counted(weights))
        return call_of(conv(), stored, (rescaling[0], rescaling[1], rescaling[2])).kernel

    assert kernel(e2m1) == kernel(e2m1[:-3])


def test_without_padding_the_zero_point_is_no_part_of_the_function() -> None:
    one, other = (specialized(conv(pads=(0, 0, 0, 0), x_zero_point=zero), 4).kernel for zero in (3, -128))
    assert one == other


def test_scratch_holds_as_many_rows_as_fit() -> None:
    kernel = specialized(conv((64, 64)), 4).kernel
    assert isinstance(kernel, CodedConv)
    assert (kernel.rows, kernel.tile, kernel.passes) == (4, 4, 16)
    assert kernel.operands()[-1].bytes <= SCRATCH_BYTES


def test_a_product_with_one_row_takes_no_scratch() -> None:
    kernel = specialized(Gemm(1, 640, 64, Output()), 4).kernel
    assert [operand.name for operand in kernel.operands()] == ["x", "packed", "bias", "multiplier", "shift", "y"]


def test_wide_sums_are_exact_beyond_what_float64_holds() -> None:
    plain = of_gemm(2, 64, 2, Output(0, -(2**31) + 1, 2**31 - 1, "int32"))
    rng = np.random.default_rng(0)
    weights = rng.choice([-229376, 229375, 12347], (2, 1, 1, 64))
    one = np.ones(2, np.int32)
    rescaling = (np.zeros(2, np.int64), one, np.full(2, 24, np.int8))
    kernel, constants = call_of(plain, coded.shortest(weights, counted(weights)), rescaling, "int32", wide=True)
    x = rng.integers(-(2**31), 2**31 - 1, (1, 2, 1, 64)).astype(np.int32)
    exact = x.astype(object).reshape(2, 64) @ weights.astype(object).reshape(2, 64).T
    expected = [[max(min((total + 2**23) >> 24, 2**31 - 1), -(2**31) + 1) for total in row] for row in exact]
    np.testing.assert_array_equal(kernel.reference(x, *constants).reshape(2, 2), np.array(expected))
