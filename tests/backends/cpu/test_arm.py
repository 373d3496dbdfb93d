"""Every case of every kernel for 64-bit Arm, run by QEMU on the cores that have what it takes, equals its reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, build
from bevel.backends.cpu import arm
from bevel.backends.cpu.arm.depthwise_arm import DepthwiseArm
from bevel.backends.cpu.arm.dots_arm import DotsArm
from bevel.backends.cpu.arm.loops import LANES, PIXELS
from bevel.backends.cpu.arm.neon import VECTORS
from bevel.backends.devices.qemu_user import QemuUser
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.select.specialize import specialized
from bevel.backends.target import Target, load
from bevel.backends.tir.builder import build as build_function
from bevel.backends.tir.raw_abi import llvm_object
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from kernel_cases import cases, modules
from kernel_programs import program_of

CASES = cases(arm)


@pytest.mark.parametrize("name", ["cortex-a76", "cortex-a72"])
def test_an_arm_core_computes_what_the_references_do(name: str, tmp_path: Path) -> None:
    target = load(name)
    if why := QemuUser(target).missing():
        pytest.skip(why)
    try:
        for_target(target)
    except UserError as error:
        pytest.skip(str(error))
    taken = [(f"{module}_{index}", case) for module, index, case in CASES if is_of(case, target)]
    program, vectors = program_of(taken)
    artifact = build(program, target, tmp_path, vectors, BuildOptions())
    measurement = QemuUser(target).measure(artifact, vectors)
    assert (measurement.mismatches, measurement.first_mismatch) == (0, None)


def is_of(case: Op, target: Target) -> bool:
    return not isinstance(case, DotsArm) or case.fused == ("dotprod" in target.abilities)


def test_every_kernel_has_cases() -> None:
    kinds = {
        kind
        for module in modules(arm)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Kernel) and not kind.__abstractmethods__
    }
    assert kinds == {type(case) for _, _, case in CASES}


PACKED = [case for _, _, case in CASES if isinstance(case, DotsArm | DepthwiseArm)]


@pytest.mark.parametrize("case", PACKED, ids=lambda case: type(case).__name__)
def test_constants_are_unpacked_as_they_were(case: DotsArm | DepthwiseArm) -> None:
    _, *constants = case.example(np.random.default_rng(0))
    again = case.packed(*case.unpacked(*constants))
    for found, expected in zip(again, constants, strict=True):
        np.testing.assert_array_equal(found, expected)


def example_of(plain: Op) -> tuple[Array, ...]:
    """Constants of it."""
    return plain.example(np.random.default_rng(0))[1:]


def call_of(plain: Op, *constants: Array) -> Call:
    return Call("node", plain, ("x",), constants, "y")


@pytest.mark.parametrize(("target", "fused"), [("cortex-a76", True), ("aarch64-linux", True), ("cortex-a72", False)])
def test_machines_with_dot_products_use_them(target: str, fused: bool) -> None:
    plain = Gemm(rows=1, k=4, n=2, output=Output())
    w, *others = example_of(plain)
    call = call_of(plain, np.maximum(w, -127), *others)
    assert specialized(call, load(target)).kernel == DotsArm(plain, fused)


@pytest.mark.parametrize(("name", "fused"), [("cortex-a76", True), ("cortex-a72", False)])
def test_products_are_those_of_the_processor(name: str, fused: bool) -> None:
    """SDOT by a lane, as the Arm Architecture Reference Manual encodes it (C7.2), or no SDOT at all."""
    case = DotsArm(Gemm(rows=6, k=64, n=32, output=Output()), fused)
    code = llvm_object({"k": build_function(case, "k")}, dict(load(name).llvm or {}))
    words = np.frombuffer(code[: len(code) // 4 * 4], "<u4")
    by_lane = int(((words & 0xFFC0F400) == 0x4F80E000).sum())
    assert by_lane == (LANES * VECTORS * PIXELS if fused else 0)


def test_without_dot_products_no_weight_is_the_lowest() -> None:
    plain = Gemm(rows=1, k=4, n=2, output=Output())
    w, *others = example_of(plain)
    w[0, 0] = -128
    assert type(specialized(call_of(plain, w, *others), load("cortex-a72")).kernel) is Gemm
    assert type(specialized(call_of(plain, w, *others), load("cortex-a76")).kernel) is DotsArm


def test_results_that_leave_32_bits_before_their_clamp_keep_the_plain_loops() -> None:
    plain = Gemm(rows=64, k=64, n=64, output=Output())
    w, bias = np.full((64, 64), 127, np.int8), np.zeros(64, np.int32)
    multiplier, shift = np.full(64, 2**30, np.int32), np.full(64, 10, np.int8)
    call = specialized(call_of(plain, w, bias, multiplier, shift), load("cortex-a76"))
    assert not isinstance(call.kernel, DotsArm)
    assert isinstance(specialized(call_of(plain, w, bias, multiplier, shift + 20), load("cortex-a76")).kernel, DotsArm)
