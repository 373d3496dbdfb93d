"""The overlay's unit, however wide, computes what references of operators say, in the cycles of its model."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.fpga.overlay.assembly import assembled
from bevel.backends.fpga.overlay.design import Overlay, overlay_design
from bevel.backends.fpga.overlay.network import overlay_network
from bevel.backends.fpga.overlay.timing import modelled
from bevel.backends.fpga.overlay.unit import OverlayUnit
from bevel.backends.fpga.simulation.verilator import Verilator, simulate
from bevel.backends.program.op import Array, Op, Role
from bevel.calib.errors import UserError
from fpga_programs import IMAGES, beside, frames, narrow

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
    assert len({type(op) for op in ops}) == 9
    for part, first in enumerate(range(0, len(ops), PORTS)):
        values = {0: weights[2], 1: weights[3]} if first == 0 else None
        check(unit, ops[first : first + PORTS], rng, tool, tmp_path / f"part{part}", values)


def check(
    unit: OverlayUnit,
    ops: Sequence[Op],
    rng: np.random.Generator,
    tool: Verilator,
    folder: Path,
    weights: Mapping[int, Array] | None = None,
) -> None:
    program = beside(ops, rng, weights)
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
