"""Every case of every plain kernel, run by a simulated RISC-V core, equals its reference bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.program.kernel import header_of
from bevel.backends.program.op import Op
from bevel.backends.program.resources import Resources
from bevel.backends.target import load
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
