"""Products by AND and population count: when they are taken, that they are exact, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.encodings.bitplanes import StridedCodes
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Bounds, Role
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource
from bevel.backends.select.objective import LATENCY
from bevel.backends.select.specialize import specialize as specialize_program
from bevel.backends.select.specialize import specialized
from bevel.backends.target import load
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv, cases, specialize
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError

M7, M0, M55, RISCV, HOST = (load(name) for name in ("cortex-m7", "cortex-m0plus", "cortex-m55", "rv32imc", "host"))
TARGETS = (M7, M0, RISCV, HOST)


def conv(channels: tuple[int, int] = (64, 16), **changes: Any) -> Conv:
    plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
    return Conv(1, 6, 6, *channels, (3, 3), **(plain | {"x_zero_point": -128, "output": Output()} | changes))


def call(kernel: Conv | Gemm, levels: list[int], bounds: Bounds | None, seed: int = 0) -> Call:
    """A call whose weights are of `levels`."""
    rng = np.random.default_rng(seed)
    _, w, *rescaling = kernel.example(rng)
    weights = rng.choice(levels, w.shape).astype(np.int8)
    return Call("node", kernel, ("x",), (weights, *rescaling), "y", input_bounds=(bounds,))


def taken(found: Special | str) -> BitplaneConv:
    assert isinstance(found, Special)
    assert isinstance(found.kernel, BitplaneConv)
    return found.kernel


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_binary_weights_and_one_bit_activations_are_counted_everywhere(target: Any) -> None:
    assert taken(specialize(call(conv(), [-1, 1], (-128, -127)), target)).x_bits == 1


@pytest.mark.parametrize(
    ("levels", "bounds", "expected"),
    [
        ([-1, 1], (-128, -125), (-128, 2, StridedCodes(1, -1, 2))),
        ([-1, 0, 1], (-128, -127), (-128, 1, StridedCodes(2, -1, 1))),
        ([-2, -1, 0, 1], (-128, -122), (-128, 3, StridedCodes(2, -2, 1))),
        ([0, 3], (-128, -126), (-128, 2, StridedCodes(1, 0, 3))),
    ],
)
def test_planes_are_as_many_as_the_values_need(
    levels: list[int], bounds: Bounds, expected: tuple[int, int, StridedCodes]
) -> None:
    kernel = taken(specialize(call(conv(), levels, bounds), RISCV))
    assert (kernel.x_low, kernel.x_bits, kernel.codes) == expected


def test_padding_outside_the_bounds_widens_them() -> None:
    kernel = taken(specialize(call(conv(x_zero_point=-121), [-1, 1], (-128, -127)), RISCV))
    assert (kernel.x_low, kernel.x_bits) == (-128, 3)


def test_bits_that_would_leave_int8_start_lower() -> None:
    without = conv(pads=(0, 0, 0, 0))
    kernel = taken(specialize(call(without, [-1, 1], (122, 127)), RISCV))
    assert (kernel.x_low, kernel.x_bits) == (120, 3)


@pytest.mark.parametrize(
    ("target", "changed", "levels", "bounds", "reason"),
    [
        (M55, conv(), [-1, 1], (-128, -127), "left to vectors of bytes"),
        (RISCV, conv(), [-4, 0, 1], (-128, -127), "3 weights from -4 to 1 take 3 bits"),
        (RISCV, conv((16, 16), groups=2), [-1, 1], (-128, -127), "no ungrouped sums of products"),
        (RISCV, conv(), [-1, 1], None, "activations of 8 bits"),
        (HOST, conv(), [-1, 0, 1], (-128, -125), "4 planes of products for each weight"),
        (HOST, conv((64, 6)), [-1, 1], (-128, -127), "6 output channels do not come in fours"),
        (HOST, conv(), [-1, 0, 1], None, "16 planes of products for each weight"),
        (HOST, conv(), [-1, 1], None, "8 planes of products for each weight"),
        (HOST, Gemm(1, 640, 64, Output()), [-1, 1], (-128, -113), "4 planes of products for each weight"),
    ],
)
def test_other_products_are_left_to_other_kernels(
    target: Any, changed: Conv | Gemm, levels: list[int], bounds: Bounds | None, reason: str
) -> None:
    assert specialize(call(changed, levels, bounds), target) == reason


@pytest.mark.parametrize(
    ("target", "changed", "levels", "bounds"),
    [
        (M7, conv((3, 16)), [-1, 1], (-128, -127)),
        (RISCV, conv((3, 16)), [-1, 0, 1], (-128, -113)),
    ],
)
def test_where_others_are_faster_its_cost_leaves_products_to_them(
    target: Any, changed: Conv | Gemm, levels: list[int], bounds: Bounds
) -> None:
    found = specialized(call(changed, levels, bounds), target, LATENCY)
    (own,) = (one for one in found.asked if one.rule == "bitplane_conv")
    assert not isinstance(found.kernel, BitplaneConv)
    assert own.cost[Resource.INSTRUCTIONS] > found.asked[0].cost[Resource.INSTRUCTIONS]


@pytest.mark.parametrize(
    ("target", "changed", "levels", "bounds"),
    [
        (M7, conv(), [-1, 1], (-128, -125)),
        (M7, conv(), [-1, 0, 1], (-128, -127)),
        (M7, Gemm(1, 640, 64, Output()), [-1, 1], (-128, -127)),
        (M0, conv((16, 16)), [-1, 0, 1], (-128, -121)),
        (RISCV, conv((16, 16)), [-1, 0, 1], (-128, -113)),
    ],
)
def test_where_it_is_faster_it_is_taken(target: Any, changed: Conv | Gemm, levels: list[int], bounds: Bounds) -> None:
    """In unicorn: 273,511, 268,048, 18,538, 399,866 and 258,238 instructions; others take 292,806 (twice), 39,503,
    497,407 and 356,937."""
    assert isinstance(specialized(call(changed, levels, bounds), target, LATENCY).kernel, BitplaneConv)


def test_a_kernel_without_weights_is_left_alone() -> None:
    assert specialize(Call("node", Clip(8, -3, 5), ("x",), (), "y"), HOST) == "no ungrouped sums of products"


def test_sums_that_leave_32_bits_on_their_way_are_left_alone() -> None:
    given = call(conv(), [-1, 1], (-128, -127))
    w, bias, *scaling = given.constants
    large = replace(given, constants=(w, np.full_like(bias, 2**31 - 1), *scaling))
    assert specialize(large, RISCV) == "sums may leave 32 bits on their way"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_kernel_computes_what_the_plain_one_does(data: st.DataObject) -> None:
    stride, base = data.draw(st.integers(1, 9)), data.draw(st.integers(-9, 9))
    levels = [base + stride * code for code in range(data.draw(st.integers(1, 4)))]
    channels = data.draw(st.integers(1, 70)), 4 * data.draw(st.integers(1, 3))
    low = data.draw(st.integers(-128, 120))
    bounds = low, min(127, low + data.draw(st.integers(0, 15)))
    plain = replace(
        conv(channels, x_zero_point=data.draw(st.integers(*bounds))), strides=(data.draw(st.integers(1, 2)), 1)
    )
    given, rng = call(plain, levels, bounds), np.random.default_rng(0)
    found = specialize(given, data.draw(st.sampled_from(TARGETS)))
    if isinstance(found, str):
        return
    x = rng.integers(bounds[0], bounds[1] + 1, plain.operands()[0].shape).astype(np.int8)
    np.testing.assert_array_equal(found.kernel.reference(x, *found.constants), plain.reference(x, *given.constants))


def test_the_format_of_a_result_decides_on_the_kernel_that_reads_it() -> None:
    first, second = conv(output=Output(-128, -128, -127)), conv((16, 16))
    calls = (call(first, [-1, 1], None), replace(call(second, [-1, 1], None), inputs=("y",), output="z"))
    sizes = {"x": (6, 6, 64), "y": (6, 6, 16), "z": (6, 6, 16)}
    buffers = {name: Buffer(name, shape, "int8") for name, shape in sizes.items()}
    program = Program("p", (Port("x", "x", sizes["x"], "int8"),), (), buffers, calls)
    kernels = [one.kernel for one in specialize_program(program, RISCV, LATENCY).calls]
    assert [isinstance(kernel, BitplaneConv) for kernel in kernels] == [False, True]


def test_weights_take_a_bit_for_each_plane() -> None:
    found = specialize(call(conv(), [-1, 0, 1], (-128, -127)), RISCV)
    assert isinstance(found, Special)
    assert found.constants[0].nbytes == 2 * 64 * 9 * 16 // 8


def test_bits_of_activations_are_no_larger_in_scratch_than_in_the_buffer() -> None:
    kernel = taken(specialize(call(conv(), [-1, 1], (-128, -125)), RISCV))
    image = kernel.roles(Role.SCRATCH)[0]
    assert image.bytes == 8 * 8 * 64 * 2 // 8


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m0plus"])
def test_a_core_computes_what_the_reference_does(core: str, tmp_path: Path) -> None:
    target = load(core)
    if why := Unicorn(target).missing():
        pytest.skip(why)
    try:
        for_target(target)
    except UserError as error:
        pytest.skip(str(error))
    inputs, outputs, calls, arrays = [], [], [], {}
    for index, kernel in enumerate(case for case in cases() if case.word == 32):
        x, *constants = kernel.example(np.random.default_rng(index))
        (result,) = kernel.roles(Role.OUTPUT)
        inputs.append(Port(f"x{index}", f"x{index}", x.shape, "int8"))
        outputs.append(Port(f"y{index}", f"y{index}", result.shape, "int8"))
        calls.append(Call(f"node{index}", kernel, (f"x{index}",), tuple(constants), f"y{index}"))
        low, high = kernel.x_low, kernel.x_low + 2**kernel.x_bits - 1
        arrays[f"x{index}"] = np.stack([x, np.full_like(x, low), np.full_like(x, high)])
    buffers = {port.buffer: Buffer(port.buffer, port.shape, port.dtype) for port in (*inputs, *outputs)}
    program = Program("planes", tuple(inputs), tuple(outputs), buffers, tuple(calls))
    results = [program.run({name: several[index] for name, several in arrays.items()}) for index in range(3)]
    vectors = Vectors(arrays, {port.name: np.stack([result[port.name] for result in results]) for port in outputs})
    measurement = Unicorn(target, timeout_s=120).measure(build(program, target, tmp_path, vectors), vectors)
    assert (measurement.mismatches, measurement.first_mismatch) == (0, None)


def test_fewer_instructions_are_estimated_for_fewer_planes() -> None:
    one, two = (taken(specialize(call(conv(), [-1, 1], (-128, high)), RISCV)) for high in (-127, -125))
    assert one.instructions() < two.instructions()
    assert isinstance(specialized(call(conv(), [-1, 1], (-128, -127)), M7).kernel, BitplaneConv)
