"""The overlay's unit, however wide, computes what references of operators say, in the cycles of its model."""

from collections import Counter
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.fpga.overlay.assembly import assembled
from bevel.backends.fpga.overlay.design import Overlay, overlay_design
from bevel.backends.fpga.overlay.network import overlay_network
from bevel.backends.fpga.overlay.timing import modelled
from bevel.backends.fpga.overlay.unit import OverlayUnit
from bevel.backends.fpga.simulation.verilator import Verilator, simulate
from bevel.backends.program.op import Op, Role
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.mul import Mul
from bevel.backends.program.ops.round_even import RoundEven
from bevel.backends.program.program import Program
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.calib.errors import UserError
from fpga_programs import IMAGES, beside, followed, frames, holding, narrow, repeated

FRAMES = 3
PORTS = 11  # operators beside each other, some of which have two inputs
LARGEST = 3000  # elements of all operands of a case


def able(most: int) -> Iterator[Op]:
    """Test cases of all operators that the overlay computes, the larger ones first, `most` of each."""
    had: Counter[type[Op]] = Counter()
    for module in IMAGES:
        small = [op for op in module.cases() if sum(one.size for one in op.operands()) < LARGEST]
        for op in sorted(small, key=lambda op: -sum(one.size for one in op.operands())):
            if had[type(op)] < most and computed(op):
                had[type(op)] += 1
                yield op


def computed(op: Op) -> bool:
    if any(one.dtype != "int8" for one in op.roles(Role.INPUT)):
        return False
    try:
        return bool(overlay_network(beside([op], np.random.default_rng(0))).name)
    except UserError:
        return False


@pytest.mark.parametrize(
    ("unit", "seed", "most"),
    [
        (OverlayUnit(8, 2, "dsp"), 0, 1),
        pytest.param(OverlayUnit(4, 4, "lut"), 1, 2, marks=pytest.mark.long),
        pytest.param(OverlayUnit(16, 1, "dsp"), 2, 2, marks=pytest.mark.long),
        pytest.param(OverlayUnit(2, 1, "lut"), 3, 2, marks=pytest.mark.long),
    ],
)
def test_operators_equal_their_references_in_simulation(
    unit: OverlayUnit, seed: int, most: int, tool: Verilator, tmp_path: Path
) -> None:
    """Back to back, then with streams and memory held back at random, and the queue of the program, too."""
    (special, weights), rng = narrow(), np.random.default_rng(seed)
    ops = [*special[2:4], *able(most)]
    assert len({type(op) for op in ops}) == 10
    for part, first in enumerate(range(0, len(ops), PORTS)):
        values = {0: weights[2], 1: weights[3]} if first == 0 else None
        check(unit, beside(ops[first : first + PORTS], rng, values), rng, tool, tmp_path / f"part{part}")


@pytest.mark.parametrize(
    "unit", [OverlayUnit(4, 2, "lut"), pytest.param(OverlayUnit(16, 4, "dsp"), marks=pytest.mark.long)]
)
def test_two_tensors_of_which_one_may_be_repeated_equal_their_references(
    unit: OverlayUnit, tool: Verilator, tmp_path: Path
) -> None:
    rng, ops = np.random.default_rng(0), [*repeated(), *pairs(IMAGE, IMAGE)[1:], pairs(IMAGE, (1, 1, 1, 9))[-1]]
    for part in range(2):
        check(unit, beside(ops[part::2], rng), rng, tool, tmp_path / f"part{part}")


def test_a_tensor_and_constants_of_channels_equal_their_references(tool: Verilator, tmp_path: Path) -> None:
    rng, scaled = np.random.default_rng(0), (-7, -128, *fixed_point(0.004), Output(3))
    ops = [*pairs(IMAGE, (9,)), Mul(IMAGE, (9,), IMAGE, *scaled), Mul(IMAGE, IMAGE, (1,), *scaled)]
    program = beside(ops, rng)
    for number in range(len(ops)):  # by then each before has one port
        first, second = program.inputs[number : number + 2]
        place, port = (number + 1, second) if len(second.shape) < len(first.shape) else (number, first)
        program = holding(program, place, rng.integers(-128, 128, port.shape).astype(np.int8))
    check(OverlayUnit(4, 4, "dsp"), program, rng, tool, tmp_path / "held")


@pytest.mark.parametrize("ratio", [1 / 120, pytest.param(2.0**-8, marks=pytest.mark.long)])
def test_sums_on_a_half_go_to_the_even_integer(ratio: float, tool: Verilator, tmp_path: Path) -> None:
    """Or as near to it as a multiplier is to its ratio."""
    rng, exact = np.random.default_rng(0), Output(0, -(1 << 28), 1 << 28, "int32")
    sums = Mul(IMAGE, IMAGE, (1, 1, 1, 9), 4, -128, *fixed_point(1.0), exact)
    even = RoundEven(prod(IMAGE), *fixed_point(ratio), 65_025, Output(-3), 65_025)
    check(OverlayUnit(4, 2, "dsp"), followed(beside([sums], rng), even, rng), rng, tool, tmp_path / "halves")


IMAGE = (1, 4, 3, 9)


def pairs(shape: tuple[int, ...], other: tuple[int, ...]) -> list[Op]:
    """Of zero points that take no weights, digits, or sums of weights, and a sum."""
    zeros, scaled = ((0, 0), (-128, -128), (100, -128), (-128, 127), (-128, -127)), (*fixed_point(0.004), Output(-3))
    products: list[Op] = [Mul(shape, shape, other, *both, *scaled) for both in zeros]
    return [*products, Add(shape, shape, other, 300_001, -200_003, (1 << 18) + 12_345, 19, Output(5))]


def check(unit: OverlayUnit, program: Program, rng: np.random.Generator, tool: Verilator, folder: Path) -> None:
    given, expected = frames(program, FRAMES, rng)
    made = assembled(overlay_network(program), unit.lanes)
    overlay = Overlay(made, unit, modelled(made, unit))
    design = overlay_design(overlay)
    folder.mkdir()
    for name, text in design.rtl.items():
        (folder / name).write_text(text)
    assert tool.lint(folder, design.top) == ""
    bench = tool.build(design)
    for throttle, stall in ((0, 0), (1, 0), (2, 3)):
        run = simulate(bench, design.interface, design.memories, given, throttle, stall)
        assert not run.stuck
        for name, want in expected.items():
            np.testing.assert_array_equal(run.outputs[name], want, err_msg=f"{name} with {throttle, stall}")
        if not throttle:
            cycles, count = run.registers or (0, 0)
            assert count == FRAMES and cycles == pytest.approx(overlay.model.steady_state, rel=0.02)
            assert run.first_frame == pytest.approx(overlay.model.first_frame, rel=0.01)
            assert run.steady_state == pytest.approx(overlay.model.steady_state, rel=0.01)
