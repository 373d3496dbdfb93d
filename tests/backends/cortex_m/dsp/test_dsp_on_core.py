"""Every case of every kernel for the DSP extension, run by simulated cores that have it, equals its reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, build
from bevel.backends.cortex_m import dsp
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load
from bevel.calib.errors import UserError
from kernel_cases import cases, more_inputs, result_ports

CASES: dict[str, list[Op]] = {}
for _module, _, _case in cases(dsp):
    CASES.setdefault(_module, []).append(_case)

# Every core once, with one compiler or the other: what the kernels say in assembly is the same for all.
CORES = [("cortex-m4", "gcc"), ("cortex-m7", "zig"), ("cortex-m33", "gcc")]


def vectors_of(array: Array, seed: int) -> list[Any]:
    """`array` itself, then random values, all the least, all the greatest, and a mixture of the two."""
    rng = np.random.default_rng(seed)
    limits = np.iinfo(array.dtype)
    ends = np.array([limits.min, limits.max], array.dtype)
    return [
        array,
        rng.integers(limits.min, limits.max, array.shape, array.dtype, endpoint=True),
        *(np.full_like(array, end) for end in ends),
        rng.choice(ends, array.shape),
    ]


def program_of(cases: list[Op], name: str) -> tuple[Program, Vectors]:
    """A program that calls each kernel once, with inputs and an output of its own, and vectors for it."""
    inputs, outputs, calls, arrays = [], [], [], {}
    for index, kernel in enumerate(cases):
        given = iter(kernel.example(np.random.default_rng(index)))
        further = iter([] if kernel.any_codes else more_inputs(kernel, count=4))
        constants, names = [], []
        for operand in kernel.roles(Role.INPUT, Role.CONSTANT):
            if operand.role is Role.CONSTANT:
                constants.append(next(given))
                continue
            names.append(f"{operand.name}{index}")
            inputs.append(Port(names[-1], names[-1], operand.shape, operand.dtype))
            array = next(given)
            arrays[names[-1]] = np.stack(vectors_of(array, index) if kernel.any_codes else [array, *next(further)])
        results = result_ports(kernel, f"y{index}")
        outputs += results
        written, *more = (port.buffer for port in results)
        calls.append(Call(f"call {index}: {kernel}", kernel, tuple(names), tuple(constants), written, more=tuple(more)))
    buffers = {port.buffer: Buffer(port.buffer, port.shape, port.dtype) for port in (*inputs, *outputs)}
    program = Program(name, tuple(inputs), tuple(outputs), buffers, tuple(calls))
    count = len(next(iter(arrays.values())))
    results = [program.run({port: several[index] for port, several in arrays.items()}) for index in range(count)]
    return program, Vectors(
        arrays, {port.name: np.stack([result[port.name] for result in results]) for port in outputs}
    )


@pytest.mark.parametrize(("core", "compiler"), CORES)
@pytest.mark.parametrize("module", CASES)
def test_a_core_computes_what_the_reference_does(module: str, core: str, compiler: Any, tmp_path: Path) -> None:
    target = load(core)
    if why := Unicorn(target).missing():
        pytest.skip(why)
    try:
        for_target(target, compiler)
    except UserError as error:
        pytest.skip(str(error))
    program, vectors = program_of(CASES[module], module)
    artifact = build(program, target, tmp_path, vectors, BuildOptions(compiler=compiler))
    measurement = Unicorn(target, timeout_s=120).measure(artifact, vectors)
    assert (measurement.mismatches, measurement.first_mismatch) == (0, None)
