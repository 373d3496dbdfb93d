"""Coded weights for the DSP extension: when they are taken, and that they compute what the plain kernel does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.backends import target as targets
from bevel.backends.cortex_m.dsp.coded_conv_dsp import SCRATCH_BYTES, CodedConvDsp, specialize
from bevel.backends.encodings.coded import Coding
from bevel.backends.program.kernel import Special
from bevel.backends.program.ops.coded_conv import CodedConv, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.calib.arithmetic.requantize import Output

DSP, PLAIN = targets.load("cortex-m4"), targets.load("cortex-m0plus")
BLOCKS = Coding(4, "int16", True, 32, 8)


def coded(coding: Coding = BLOCKS, channels: tuple[int, int] = (32, 8), **changes: Any) -> CodedConv:
    plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    kinds = {key: changes.pop(key) for key in ("x_dtype", "wide") if key in changes}
    plain |= {"x_zero_point": -128, "output": Output()} | changes
    return CodedConv(Conv(1, 4, 3, *channels, (3, 3), **plain), coding, **kinds)


def call(kernel: CodedConv, seed: int = 0) -> tuple[Call, np.ndarray]:
    x, *constants = kernel.example(np.random.default_rng(seed))
    return Call("node", kernel, ("x",), tuple(constants), "y"), x


def answer(kernel: CodedConv) -> Special | str:
    return specialize(call(kernel)[0], DSP)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_the_kernel_computes_what_the_plain_one_does(data: st.DataObject) -> None:
    draw = data.draw
    block = draw(st.sampled_from([0, 4, 16]))
    depth = draw(st.integers(1, 5)) * 4 if block else draw(st.integers(1, 20))
    factors = 4 if block else 0
    coding = Coding(
        draw(st.integers(1, 6)), draw(st.sampled_from(["int8", "int16"])), draw(st.booleans()), block, factors
    )
    x_dtype, pads = draw(st.sampled_from(["int8", "int16"])), draw(st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1)]))
    channels = (depth, draw(st.integers(1, 20)))
    kernel = coded(coding, channels, x_dtype=x_dtype, wide=draw(st.booleans()), pads=pads)
    before, x = call(kernel, draw(st.integers(0, 99)))
    found = specialize(before, DSP)
    if isinstance(found, str):
        assert found == "rows of a single pixel" and not any(pads)
        return
    expected = kernel.reference(x, *before.constants)
    np.testing.assert_array_equal(found.kernel.reference(x, *found.constants), expected)


def test_single_pixels_are_taken_as_one_long_row() -> None:
    kernel = CodedConv(of_gemm(6, 64, 8, Output()), BLOCKS)
    before, x = call(kernel)
    found = specialize(before, DSP)
    assert isinstance(found, Special) and isinstance(found.kernel, CodedConvDsp)
    assert found.kernel.plain.positions == (1, 6)
    got = found.kernel.reference(x.reshape(1, 1, 6, 64), *found.constants)
    np.testing.assert_array_equal(got.ravel(), kernel.reference(x, *before.constants).ravel())


def test_weights_take_the_bytes_that_they_took_before() -> None:
    before, _ = call(coded(channels=(64, 64)))
    found = specialize(before, DSP)
    assert isinstance(found, Special)
    assert [array.size for array in found.constants] == [array.size for array in before.constants]
    assert found.kernel.operands()[-3].bytes <= SCRATCH_BYTES


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (coded(channels=(32, 32), groups=32), "grouped"),
        (coded(Coding(8, "int32", True), wide=True), "32-bit factors"),
        (coded(x_dtype="int32", wide=True), "32-bit factors"),
        (coded(channels=(30, 8)), "blocks that cut fours of input channels"),
        (coded(replace(BLOCKS, block=6)), "blocks that cut fours of input channels"),
        (CodedConv(of_gemm(1, 64, 8, Output()), BLOCKS), "rows of a single pixel"),
    ],
)
def test_what_the_kernel_cannot_do_stays_plain(kernel: CodedConv, reason: str) -> None:
    assert answer(kernel) == reason


def test_a_core_without_the_extension_keeps_the_plain_kernel() -> None:
    before, _ = call(coded())
    assert specialized(before, PLAIN) == before
    assert isinstance(specialized(before, DSP).kernel, CodedConvDsp)
