"""Estimates are those of the sets of instructions that the machine at hand has, and that a target may use."""

import pytest

from bevel.backends.cpu import backend
from bevel.backends.cpu.backend import BACKEND, RATES
from bevel.backends.cpu.levels import AVX512_VNNI
from bevel.backends.cpu.x86.avx2_rates import AVX2_RATES
from bevel.backends.cpu.x86.dots import Dots
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.resources import Resource
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

HOST = load("host")


@pytest.mark.skipif(HOST.architecture != "x86_64", reason="targets of x86-64")
def test_avx2_alone_has_rates_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    dots = Dots(Gemm(rows=64, k=64, n=64, output=Output()))
    alone = BACKEND.estimate(dots, HOST.with_levels("avx2"))[Resource.LATENCY]
    assert BACKEND.rates(HOST.with_levels("avx2"))[Conv] == AVX2_RATES[Conv]
    monkeypatch.setattr(backend, "at_hand", lambda target: [AVX512_VNNI])
    assert BACKEND.estimate(dots, HOST)[Resource.LATENCY] < alone / 5


def test_64_bit_arm_has_those_of_the_other_machine() -> None:
    assert BACKEND.rates(load("cortex-a76")) is RATES


def test_what_avx2_multiplies_beats_plain_loops() -> None:
    for plain in (Gemm(rows=1, k=640, n=128, output=Output()), Gemm(rows=64, k=8, n=16, output=Output())):
        kernels = (Dots(plain), plain)
        best, other = (AVX2_RATES[type(one)].of(one)[Resource.LATENCY] for one in kernels)
        assert best < other
