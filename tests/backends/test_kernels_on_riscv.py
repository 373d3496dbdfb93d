"""Every case of every plain kernel, run by a simulated RISC-V core of 32 or 64 bits, equals its reference."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Device
from bevel.backends.devices.qemu_user import QemuUser
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.program.kernel import header_of
from bevel.backends.program.op import Op
from bevel.backends.program.resources import Resources
from bevel.backends.target import Target, load
from bevel.calib.errors import UserError
from kernel_cases import ALL
from kernel_programs import program_of

PART = 64  # kernels of a program: planning the memory of more takes long


def plain_kernels() -> Iterator[tuple[str, Op]]:
    """Names and kernels. One with a C header is for an instruction set that RISC-V does not have."""
    yield from ((f"{module}_{index}", case) for module, index, case in ALL if header_of(case) is None)


CASES = list(plain_kernels())


@pytest.mark.long
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_a_riscv_core_computes_what_the_references_do(compiler: Any, tmp_path: Path) -> None:
    target = load("rv32imc").with_memory(Resources({"ram": 4 << 20}))
    hold_to_references(target, Unicorn(target, timeout_s=120), BuildOptions(compiler=compiler), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", ["riscv64-linux", "rv64gcv"])
def test_a_64_bit_core_computes_what_the_references_do(name: str, tmp_path: Path) -> None:
    """Plain loops as they are, and as vectors, which LLVM makes of them."""
    hold_to_references(load(name), QemuUser(load(name)), BuildOptions(), tmp_path)


def hold_to_references(target: Target, device: Device, options: BuildOptions, folder: Path) -> None:
    if why := device.missing():
        pytest.skip(why)
    try:
        for_target(target, options.compiler)
    except UserError as error:
        pytest.skip(str(error))
    for first in range(0, len(CASES), PART):
        program, vectors = program_of(CASES[first : first + PART])
        part = folder / str(first)
        part.mkdir()
        measurement = device.measure(build(program, target, part, vectors, options), vectors)
        assert (measurement.mismatches, measurement.first_mismatch) == (0, None)
