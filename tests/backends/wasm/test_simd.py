"""Every case of every kernel for WebAssembly, run by wasmtime, equals its reference; so do shapes drawn at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from bevel.backends.build import build
from bevel.backends.devices.outputs import compare
from bevel.backends.devices.wasmtime import Wasmtime
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.backends.target import Target
from bevel.backends.wasm import simd
from bevel.backends.wasm.simd import rescaling, tiles
from bevel.backends.wasm.simd.depthwise_wasm import DepthwiseWasm
from bevel.backends.wasm.simd.dots_wasm import DotsWasm
from bevel.calib.arithmetic.requantize import Int64, Output, requantize
from kernel_cases import cases, modules
from kernel_programs import program_of
from machines import runnable

CASES = cases(simd)
TOGETHER = 10  # kernels in one program: memory is planned for all of its inputs and outputs at once
DRAWN = 6


@pytest.fixture(scope="module")
def target() -> Target:
    return runnable("wasm32", Wasmtime)


def wrong(kernels: list[tuple[str, Op]], target: Target, folder: Path) -> tuple[int, str | None]:
    program, vectors = program_of(kernels)
    with Wasmtime(target).opened(build(program, target, folder, vectors)) as run:
        found = compare(run(vectors.inputs), vectors.expected)
    return found.mismatches, found.first


@pytest.mark.parametrize("first", range(0, len(CASES), TOGETHER))
def test_webassembly_computes_what_the_references_do(first: int, target: Target, tmp_path: Path) -> None:
    some = [(f"{module}_{index}", case) for module, index, case in CASES[first : first + TOGETHER]]
    assert wrong(some, target, tmp_path) == (0, None)


def test_shapes_drawn_at_random_are_computed_as_well(target: Target, tmp_path: Path) -> None:
    """Any window, strides, dilations and pads, 1 to 80 channels, in groups or each alone."""
    assert wrong([(f"drawn_{index}", one) for index, one in enumerate(drawn())], target, tmp_path) == (0, None)


def drawn() -> Iterator[Kernel]:
    rng = np.random.default_rng(12)
    for index in range(DRAWN):
        kernel, strides, dilations = ((int(one), int(two)) for one, two in rng.integers(1, (4, 3, 3), (2, 3)).T)
        height, width = (int(one) for one in rng.integers(7, 14, 2))
        pads = (int(rng.integers(3)), int(rng.integers(3)), int(rng.integers(3)), int(rng.integers(3)))
        channels_in, channels_out = (int(one) for one in rng.integers(1, 81, 2))
        groups = 1
        if index % 3 == 1:
            channels_out = groups = channels_in
        if index == 5:
            channels_in, channels_out, groups = channels_in * 2, channels_out * 2, 2
        zero_point = int(rng.integers(-128, 128))
        plain = Conv(
            1,
            height,
            width,
            channels_in,
            channels_out,
            kernel,
            strides,
            dilations,
            pads,
            groups,
            zero_point,
            Output(-9),
        )
        yield DepthwiseWasm(plain) if plain.depthwise and channels_in > 1 else DotsWasm(plain)


def test_every_kernel_has_cases() -> None:
    kinds = {
        kind
        for module in modules(simd)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Kernel) and kind.__module__ == module.__name__
    }
    assert kinds == {type(case) for _, _, case in CASES}


PACKED = [case for _, _, case in CASES if isinstance(case, DotsWasm | DepthwiseWasm)]


@pytest.mark.parametrize("case", PACKED, ids=lambda case: type(case).__name__)
def test_constants_are_unpacked_as_they_were(case: DotsWasm | DepthwiseWasm) -> None:
    _, *constants = case.example(np.random.default_rng(0))
    again = case.packed(*case.unpacked(*constants))
    for found, expected in zip(again, constants, strict=True):
        np.testing.assert_array_equal(found, expected)


def in_float64(sums: Int64, multiplier: int, shift: int, output: Output) -> Int64:
    """What the instructions do, in numpy."""
    zero_point = 0 if output.even else output.zero_point
    raised = sums.astype(np.float64) * np.ldexp(float(multiplier), -shift) + (rescaling.INTEGERS + zero_point)
    words = raised.view(np.int32)[::2].astype(np.int64) + (output.zero_point - zero_point)
    clamped: Int64 = np.clip(words, output.low, output.high)
    return clamped


OUTPUTS = (Output(), Output(-128), Output(127, -20, 90), Output(5, even=True), Output(-9, -(2**15), 2**15 - 1, "int16"))


@given(
    reach=some.integers(1, 2**31 - 1),
    multiplier=some.one_of(some.integers(0, 2**31 - 1), some.integers(0, 30).map(lambda bits: 1 << bits)),
    shift=some.integers(1, 62),
    output=some.sampled_from(OUTPUTS),
    seed=some.integers(0, 2**32 - 1),
)
def test_float64_rounds_as_the_integers_do(reach: int, multiplier: int, shift: int, output: Output, seed: int) -> None:
    """Sums of all sizes, and those beside the halves of small results, wherever the rule takes the kernel."""
    by = np.array([multiplier], np.int32), np.array([shift], np.int8)
    if rescaling.refused(np.array([reach]), *by, output):
        return
    rng = np.random.default_rng(seed)
    halves = (np.arange(-300, 300) * 2 + 1) * (2.0 ** (shift - 1) / max(multiplier, 1))
    near = (np.rint(halves)[:, np.newaxis] + np.arange(-2, 3)).ravel()
    small = rng.integers(-reach, reach, 200, endpoint=True) >> rng.integers(0, 31, 200)
    sums = np.clip(np.concatenate([near, small, [-reach, 0, reach]]), -reach, reach).astype(np.int64)
    expected = requantize(sums, *by, output)
    np.testing.assert_array_equal(in_float64(sums, multiplier, shift, output), expected.astype(np.int64))


@pytest.mark.parametrize(
    ("reach", "multiplier", "shift", "output", "sums"),
    [(8, 1 << 30, 31, Output(), 1), (8, 1 << 30, 31, Output(), -3)],
)
def test_halves_that_may_come_are_refused(reach: int, multiplier: int, shift: int, output: Output, sums: int) -> None:
    """And rightly: float64 rounds them to the even integer."""
    by = np.array([multiplier], np.int32), np.array([shift], np.int8)
    assert rescaling.refused(np.array([reach]), *by, output) == rescaling.INEXACT
    assert rescaling.refused(np.array([reach]), *by, replace(output, even=True)) is None
    found = in_float64(np.array([sums]), multiplier, shift, output)
    assert found != requantize(np.array([sums]), *by, output)


def call_of(plain: Op, *constants: Array) -> Call:
    return Call("node", plain, ("x",), constants, "y")


def test_sums_that_float64_may_round_otherwise_keep_the_plain_loops(target: Target) -> None:
    plain = Gemm(rows=64, k=64, n=64, output=Output())
    w, bias, multiplier, shift = plain.example(np.random.default_rng(0))[1:]
    assert type(specialized(call_of(plain, w, bias, multiplier | 1, shift), target).kernel) is DotsWasm
    assert type(specialized(call_of(plain, w, bias, multiplier * 0 + (1 << 30), shift), target).kernel) is Gemm


def test_tiles_fit_in_registers_and_are_no_more_than_there_is() -> None:
    assert tiles.best_tile(16, 8) == tiles.WasmTile(4, 2)
    for columns, vectors in ((1, 1), (1, 32), (5, 3), (100, 2)):
        tile = tiles.best_tile(columns, vectors)
        assert tile.fits and tile.pixels <= columns and tile.vectors <= vectors
