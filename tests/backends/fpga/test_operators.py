"""Every operator that has hardware computes in simulation what its reference says, however it is folded."""

from pathlib import Path

import numpy as np
import pytest

from bevel.backends.fpga.simulation.verilator import Verilator, simulate
from bevel.backends.fpga.top import LEAST
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.ops.slice import Slice
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.ops.table import Table, WideTable
from bevel.backends.program.program import Program
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.calib.arithmetic.softmax import FINE
from fpga_programs import IMAGES, TRANSFORMERS, beside, designed, followed, frames, narrow, repeated, streamable

FRAMES = 5
INT16 = Output(-7, -(2**15), 2**15 - 1, "int16")
SCALE = (700_000_001, -523_456_789, 2**29 + 128 * 700_000_001, 30)  # both multipliers, offset, shift


@pytest.mark.parametrize("seed", [0])
def test_operators_equal_their_references_in_simulation(seed: int, tool: Verilator, tmp_path: Path) -> None:
    (special, weights), ops = narrow(), list(streamable(IMAGES, ["int8"]))
    ops += repeated()
    assert len({type(op) for op in ops}) == 11 and len(ops) > 25
    rng = np.random.default_rng(seed)
    equal(beside([*special, *ops], rng, weights), rng, tool, tmp_path)


@pytest.mark.parametrize("seed", [0])
def test_operators_of_transformers_equal_their_references_in_simulation(
    seed: int, tool: Verilator, tmp_path: Path
) -> None:
    """Behind the last product stands a Softmax that is slower: what is multiplied next must wait until all is read."""
    found = streamable(TRANSFORMERS, ["int8", "int16", "int32"], largest=1100)
    ops = [op for op in found if not isinstance(op, Softmax | Table)]
    ops += [
        Add((3, 5), (3, 5), (3, 5), *SCALE, INT16, a_dtype="int16"),
        Slice((3, 5, 6), (1, 2, 3), (2, 3, 3), (1,) * 3),
    ]
    ops.append(Conv(1, 5, 5, 6, 4, (3, 3), (2, 1), (1, 1), (1, 1, 0, 1), 2, 44, Output(-3)))
    ops.append(WideTable(90, segments=200, block=10, fraction=8, output=Output()))
    assert len({type(op) for op in ops}) == 11 and len(ops) > 20
    rng = np.random.default_rng(seed)
    scores = MatMul((2,), 3, 2, 7, (6, 2, 1), (14, 1, 2), (21, 7, 1), 5, -3, *fixed_point(0.01), INT16)
    program = followed(beside([*ops, scores], rng), WideSoftmax(6, 7, FINE, 16, INT16), rng)
    equal(program, rng, tool, tmp_path)


def equal(program: Program, rng: np.random.Generator, tool: Verilator, folder: Path) -> None:
    """Back to back, then with all streams held back at random, at their ends and inside, then with FIFOs of three
    beats: what is slower holds up what is before it."""
    given, expected = frames(program, FRAMES, rng)
    _, made = designed(program, rng)
    for name, text in made.rtl.items():
        (folder / name).write_text(text)
    assert tool.lint(folder, made.top) == ""
    bench = tool.build(made)
    short = dict.fromkeys(made.queues, LEAST)
    for throttle, stall, limits in ((0, 0, {}), (1, 0, {}), (2, 3, {}), (0, 0, short)):
        run = simulate(bench, made.interface, made.memories, given, throttle, stall, limits)
        assert not run.stuck
        for name, want in expected.items():
            np.testing.assert_array_equal(run.outputs[name], want, err_msg=f"{name} with {throttle, stall, limits}")
