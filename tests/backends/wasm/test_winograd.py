"""Convolutions transformed for WebAssembly, run by wasmtime: exact at the ends of what they hold, and where they are
worth it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformed_ends import EXTREME, constant_weights, extreme

from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.outputs import compare
from bevel.backends.devices.wasmtime import Instance, Wasmtime
from bevel.backends.program.op import Array
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource
from bevel.backends.select.specialize import specialized
from bevel.backends.target import Target
from bevel.backends.wasm.simd import winograd_wasm
from bevel.backends.wasm.simd.dots_wasm import DotsWasm
from bevel.backends.wasm.simd.winograd_wasm import WinogradWasm
from bevel.calib.arithmetic.requantize import Output
from kernel_programs import program_of
from machines import runnable

DRAWN = 4


@pytest.fixture(scope="module")
def target() -> Target:
    return runnable("wasm32", Wasmtime)


def wrong(program: Program, vectors: Vectors, target: Target, folder: Path) -> tuple[int, str | None]:
    with Wasmtime(target).opened(build(program, target, folder, vectors)) as run:
        found = compare(run(vectors.inputs), vectors.expected)
    return found.mismatches, found.first


def program_with(plain: Conv, inputs: Sequence[Array], constants: Sequence[Array]) -> tuple[Program, Vectors]:
    """A call of `plain`, transformed."""
    kernel = WinogradWasm(plain)
    given, result = (
        Port(one.name, one.name, one.shape, one.dtype) for one in (plain.operands()[0], plain.operands()[-1])
    )
    buffers = {one.buffer: Buffer(one.buffer, one.shape, one.dtype) for one in (given, result)}
    call = Call("node", kernel, (given.buffer,), kernel.packed(*constants), result.buffer)
    program = Program("ends", (given,), (result,), buffers, (call,))
    expected = np.stack([program.run({given.buffer: one})[result.name] for one in inputs])
    return program, Vectors({given.name: np.stack(inputs)}, {result.name: expected})


def test_inputs_and_weights_at_their_ends_are_exact(target: Target, tmp_path: Path) -> None:
    x, *constants = extreme()
    assert wrong(*program_with(EXTREME, [x], constants), target, tmp_path) == (0, None)


def test_sums_at_their_ends_are_exact(target: Target, tmp_path: Path) -> None:
    plain, constants = constant_weights(256, 113)
    inputs = [np.full((1, 8, 8, 256), value, np.int8) for value in (-128, 127)]
    assert wrong(*program_with(plain, inputs, constants), target, tmp_path) == (0, None)


@pytest.mark.parametrize(("weight", "transformed"), [(113, True), (114, False)])
def test_products_whose_sums_take_more_than_25_bits_stay_as_they_are(
    weight: int, transformed: bool, target: Target
) -> None:
    """Inputs are int8 here, so that weights may be twice what bytes without a sign leave them."""
    plain, constants = constant_weights(256, weight)
    found = winograd_wasm.specialize(Call("node", plain, ("x",), constants, "y"), target)
    assert isinstance(found, str) != transformed


def test_shapes_drawn_at_random_are_computed_as_well(target: Target, tmp_path: Path) -> None:
    """Any size from a tile on, any pads, up to 60 channels."""
    kernels = [(f"drawn_{index}", WinogradWasm(one)) for index, one in enumerate(drawn())]
    assert wrong(*program_of(list(kernels)), target, tmp_path) == (0, None)


def drawn() -> Iterator[Conv]:
    rng = np.random.default_rng(5)
    for _ in range(DRAWN):
        height, width = (int(one) for one in rng.integers(6, 20, 2))
        pads = (int(rng.integers(3)), int(rng.integers(3)), int(rng.integers(3)), int(rng.integers(3)))
        channels_in, channels_out = int(rng.integers(2, 16)) * 4, int(rng.integers(1, 60))
        yield Conv(
            int(rng.integers(1, 3)),
            height,
            width,
            channels_in,
            channels_out,
            (3, 3),
            (1, 1),
            (1, 1),
            pads,
            1,
            int(rng.integers(-128, 128)),
            Output(-9),
        )


def square(size: int, channels_in: int, channels_out: int) -> Conv:
    return replace(
        EXTREME, batch=1, height=size, width=size, channels_in=channels_in, channels_out=channels_out, pads=(1, 1, 1, 1)
    )


@pytest.mark.parametrize(
    ("plain", "chosen"),
    [
        (square(32, 40, 40), WinogradWasm),
        (square(8, 64, 64), WinogradWasm),
        (square(32, 16, 16), WinogradWasm),
        (square(5, 8, 16), DotsWasm),  # four tiles for little more than one
        (square(5, 64, 64), DotsWasm),
        (replace(square(32, 40, 40), strides=(2, 2)), DotsWasm),
        (replace(square(32, 40, 40), groups=2), DotsWasm),
        (square(32, 6, 40), DotsWasm),
    ],
)
def test_it_is_chosen_where_it_is_fewer_instructions(plain: Conv, chosen: type[DotsWasm], target: Target) -> None:
    _, *constants = plain.example(np.random.default_rng(0))
    assert type(specialized(Call("node", plain, ("x",), tuple(constants), "y"), target).kernel) is chosen


@pytest.mark.parametrize("plain", [square(16, 32, 32), square(9, 24, 24), square(4, 64, 64), square(32, 8, 8)])
def test_instructions_are_about_as_many_as_estimated(plain: Conv, target: Target, tmp_path: Path) -> None:
    kernel = WinogradWasm(plain)
    program, vectors = program_of([("k", kernel)])
    artifact = build(program, target, tmp_path, vectors)
    _, (counted, *_) = Instance.of(tmp_path / str(artifact.library), artifact).outputs(vectors)
    assert kernel.estimate()[Resource.INSTRUCTIONS] == pytest.approx(counted, rel=0.2)
