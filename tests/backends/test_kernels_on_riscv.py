"""Every case of every plain kernel, run by a simulated RISC-V core, equals its reference bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.program.kernel import header_of
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resources
from bevel.backends.target import load
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv
from bevel.calib.errors import UserError
from kernel_cases import ALL, result_ports

VECTORS = 4
PART = 64  # kernels of a program: planning the memory of more takes long


def plain_kernels() -> Iterator[tuple[str, Op]]:
    """Names and kernels. One with a C header is for an instruction set that RISC-V does not have."""
    yield from ((f"{module}_{index}", case) for module, index, case in ALL if header_of(case) is None)


CASES = list(plain_kernels())


def vectors_of(kernel: Op, array: Array, rng: np.random.Generator) -> Array:
    """The kernel's own example, then, for int8, all the least, all the greatest, and a mixture of the two."""
    if array.dtype != np.int8:
        return np.stack([array] * VECTORS)
    bounds = (kernel.x_low, kernel.x_low + 2**kernel.x_bits - 1) if isinstance(kernel, BitplaneConv) else (-128, 127)
    ends = np.array(bounds, np.int8)
    return np.stack([array, *(np.full_like(array, end) for end in ends), rng.choice(ends, array.shape)])


def program_of(cases: list[tuple[str, Op]]) -> tuple[Program, Vectors]:
    """A program that calls each kernel once, with inputs and an output of its own, and vectors for it."""
    rng = np.random.default_rng(0)
    inputs, outputs, calls, arrays = [], [], [], {}
    for name, kernel in cases:
        given = iter(kernel.example(rng))
        constants, names = [], []
        for operand in kernel.roles(Role.INPUT, Role.CONSTANT):
            if operand.role is Role.CONSTANT:
                constants.append(next(given))
                continue
            names.append(f"{name}_{operand.name}")
            inputs.append(Port(names[-1], names[-1], operand.shape, operand.dtype))
            arrays[names[-1]] = vectors_of(kernel, next(given), rng)
        results = result_ports(kernel, name)
        outputs += results
        written, *more = (port.buffer for port in results)
        calls.append(Call(name, kernel, tuple(names), tuple(constants), written, more=tuple(more)))
    buffers = {port.buffer: Buffer(port.buffer, port.shape, port.dtype) for port in (*inputs, *outputs)}
    program = Program("part", tuple(inputs), tuple(outputs), buffers, tuple(calls))
    results = [program.run({port: several[index] for port, several in arrays.items()}) for index in range(VECTORS)]
    expected = {port.name: np.stack([result[port.name] for result in results]) for port in outputs}
    return program, Vectors(arrays, expected)


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_a_riscv_core_computes_what_the_references_do(compiler: Any, tmp_path: Path) -> None:
    target = load("rv32imc").with_memory(Resources({"ram": 4 << 20}))
    if why := Unicorn(target).missing():
        pytest.skip(why)
    try:
        for_target(target, compiler)
    except UserError as error:
        pytest.skip(str(error))
    for first in range(0, len(CASES), PART):
        program, vectors = program_of(CASES[first : first + PART])
        folder = tmp_path / str(first)
        folder.mkdir()
        artifact = build(program, target, folder, vectors, BuildOptions(compiler=compiler))
        measurement = Unicorn(target, timeout_s=120).measure(artifact, vectors)
        assert (measurement.mismatches, measurement.first_mismatch) == (0, None)
