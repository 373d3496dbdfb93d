"""Every case of every Helium kernel, run by a simulated Cortex-M55, equals its reference bit for bit."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.build import BuildOptions, build
from bevel.backends.cortex_m import mve
from bevel.backends.cortex_m.mve.conv_mve import ConvMve
from bevel.backends.cortex_m.mve.depthwise_mve import DepthwiseMve
from bevel.backends.cortex_m.mve.positional_mve import Digits, PositionalConvMve, PositionalGemmMve
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.qemu import Qemu
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.ops import conv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output
from kernel_cases import cases, more_inputs, result_ports

CASES: dict[str, list[Op]] = {}
for _module, _, _case in cases(mve):
    CASES.setdefault(_module, []).append(_case)
SEEDS = 3


def program_of(kernels: list[Op], name: str) -> tuple[Program, Vectors]:
    """A program that calls each kernel once, with inputs and outputs of its own, and vectors of random and extreme
    values for it."""
    inputs: list[Port] = []
    outputs: list[Port] = []
    calls: list[Call] = []
    arrays: dict[str, list[Array]] = {}
    for index, kernel in enumerate(kernels):
        given, operands = kernel.example(np.random.default_rng(index)), kernel.operands()
        constants = [a for a, operand in zip(given, operands, strict=False) if operand.role is Role.CONSTANT]
        names, further = [], iter([] if kernel.any_codes else more_inputs(kernel, SEEDS - 1))
        for operand, array in zip(operands, given, strict=False):
            if operand.role is Role.INPUT:
                names.append(f"{operand.name}{index}")
                inputs.append(Port(names[-1], names[-1], operand.shape, operand.dtype))
                others = random_and_extreme(array, index) if kernel.any_codes else next(further)
                arrays[names[-1]] = [array, *others]
        results = result_ports(kernel, f"y{index}")
        outputs += results
        written, *more = (port.buffer for port in results)
        calls.append(Call(f"call{index}", kernel, tuple(names), tuple(constants), written, more=tuple(more)))
    buffers = {port.buffer: Buffer(port.buffer, port.shape, port.dtype) for port in (*inputs, *outputs)}
    program = Program(name, tuple(inputs), tuple(outputs), buffers, tuple(calls))
    results = [program.run({key: several[seed] for key, several in arrays.items()}) for seed in range(SEEDS)]
    expected = {port.name: np.stack([result[port.name] for result in results]) for port in outputs}
    return program, Vectors({key: np.stack(several) for key, several in arrays.items()}, expected)


def random_and_extreme(array: Array, seed: int) -> list[Any]:
    rng = np.random.default_rng(1000 + seed)
    limits = np.iinfo(array.dtype)
    ends = np.array([limits.min, limits.max], array.dtype)
    return [rng.permutation(array.reshape(-1)).reshape(array.shape), rng.choice(ends, array.shape)]


def random_convolutions(seed: int, count: int) -> list[Op]:
    """Shapes of every kind, ordinary and depthwise in turns."""
    rng = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    found: list[Op] = []
    while len(found) < count:
        depthwise, kernel = len(found) % 2 == 1, (pick(1, 4), pick(1, 4))
        channels = pick(1, 20) if depthwise or pick(0, 1) else 16 * pick(1, 3)
        plain = Conv(
            batch=pick(1, 2),
            height=pick(1, 12),
            width=pick(1, 12),
            channels_in=channels,
            channels_out=channels if depthwise else pick(1, 19),
            kernel=kernel,
            strides=(pick(1, 3), pick(1, 3)),
            dilations=(pick(1, 2), pick(1, 2) if depthwise else 1),
            pads=(pick(0, 3), pick(0, 3), pick(0, 3), pick(0, 3)),
            groups=channels if depthwise else 1,
            x_zero_point=pick(-128, 127),
            output=Output(pick(-128, 127), pick(-128, 0), pick(1, 127)),
        )
        if min(plain.positions) > 0:
            found.append((DepthwiseMve if depthwise else ConvMve)(plain, lifted=plain.taps < 100))
    return found


def test_cortex_m55_computes_convolutions_of_any_shape(tmp_path: Path) -> None:
    target = load("cortex-m55")
    if why := Qemu(target).missing():
        pytest.skip(why)
    program, vectors = program_of(random_convolutions(seed=7, count=20), "shapes")
    artifact = build(program, target, tmp_path, vectors)
    assert Qemu(target, timeout_s=120).measure(artifact, vectors).mismatches == 0


def positional_products() -> list[Op]:
    """Each number of vectors that has code of its own, and more; digits of both widths; odd tiles at the end."""
    plain = next(case for case in conv.cases() if case.kernel == (1, 1))
    found: list[Op] = []
    for blocks, digits in product(range(1, 9), (Digits(4, -8), Digits(2, -2), Digits(4, -3), Digits(2, -1))):
        taps, channels, lifted = 16 * blocks - digits.bits // 4, 5 + blocks + digits.bits, digits.least == -3
        found.append(PositionalGemmMve(Gemm(1, taps, channels, Output(5)), lifted, digits))
        pixels = replace(plain, channels_in=taps, channels_out=channels, strides=(1, 1))
        found.append(PositionalConvMve(pixels, lifted, digits))
    return found


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_cortex_m55_multiplies_any_number_of_vectors_of_digits(compiler: Any, tmp_path: Path) -> None:
    target = load("cortex-m55")
    if why := Qemu(target).missing():
        pytest.skip(why)
    program, vectors = program_of(positional_products(), "digits")
    artifact = build(program, target, tmp_path, vectors, BuildOptions(compiler=compiler))
    assert Qemu(target, timeout_s=120).measure(artifact, vectors).mismatches == 0


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("name", CASES)
def test_cortex_m55_computes_what_the_reference_does(name: str, compiler: Any, tmp_path: Path) -> None:
    target = load("cortex-m55")
    if why := Qemu(target).missing():
        pytest.skip(why)
    program, vectors = program_of(CASES[name], name)
    artifact = build(program, target, tmp_path, vectors, BuildOptions(compiler=compiler))
    measurement = Qemu(target, timeout_s=120).measure(artifact, vectors)
    assert (measurement.mismatches, measurement.first_mismatch) == (0, None)
