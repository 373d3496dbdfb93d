"""Every operator that has hardware computes in simulation what its reference says, however it is folded."""

from pathlib import Path

import numpy as np
import pytest

from bevel.backends.fpga.simulation.verilator import Verilator, simulate
from fpga_programs import beside, designed, frames, narrow, streamable

FRAMES = 3


@pytest.mark.parametrize("seed", [0])
def test_operators_equal_their_references_in_simulation(seed: int, tool: Verilator, tmp_path: Path) -> None:
    """Back to back, then with all streams held back at random, at their ends and inside."""
    rng = np.random.default_rng(seed)
    (special, weights), ops = narrow(), list(streamable())
    assert len({type(op) for op in ops}) == 9 and len(ops) > 25
    program = beside([*special, *ops], rng, weights)
    given, expected = frames(program, FRAMES, rng)
    _, made = designed(program, rng)
    for name, text in made.rtl.items():
        (tmp_path / name).write_text(text)
    assert tool.lint(tmp_path, made.top) == ""
    bench = tool.build(made)
    for throttle, stall in ((0, 0), (1, 0), (2, 3)):
        run = simulate(bench, made.interface, made.memories, given, throttle, stall)
        assert not run.stuck
        for name, want in expected.items():
            np.testing.assert_array_equal(run.outputs[name], want, err_msg=f"{name} with {throttle, stall}")
