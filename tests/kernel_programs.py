"""Programs that call each of some kernels once, with inputs and outputs of their own, for simulated machines."""

from __future__ import annotations

import numpy as np

from bevel.backends.devices.base import Vectors
from bevel.backends.program.op import Array, Op, Operand, Role
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv
from kernel_cases import result_ports

VECTORS = 4


def vectors_of(kernel: Op, operand: Operand, array: Array, rng: np.random.Generator) -> Array:
    """The kernel's own example, then, for int8, all the least, all the greatest, and a mixture of the two, but where
    bounds of an operand are not all that its kernel needs."""
    if array.dtype != np.int8 or (operand.bounds is not None and not kernel.any_codes):
        return np.stack([array] * VECTORS)
    known = operand.bounds or (-128, 127)
    bounds = (kernel.x_low, kernel.x_low + 2**kernel.x_bits - 1) if isinstance(kernel, BitplaneConv) else known
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
            arrays[names[-1]] = vectors_of(kernel, operand, next(given), rng)
        results = result_ports(kernel, name)
        outputs += results
        written, *more = (port.buffer for port in results)
        calls.append(Call(name, kernel, tuple(names), tuple(constants), written, more=tuple(more)))
    buffers = {port.buffer: Buffer(port.buffer, port.shape, port.dtype) for port in (*inputs, *outputs)}
    program = Program("part", tuple(inputs), tuple(outputs), buffers, tuple(calls))
    results = [program.run({port: several[index] for port, several in arrays.items()}) for index in range(VECTORS)]
    expected = {port.name: np.stack([result[port.name] for result in results]) for port in outputs}
    return program, Vectors(arrays, expected)
