"""Which mode is taken, which unit, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from bevel.backends.backend import Designing, LogicMode
from bevel.backends.fpga.backend import chosen
from bevel.backends.fpga.overlay.design import fitted
from bevel.backends.fpga.overlay.network import overlay_network
from bevel.backends.fpga.overlay.tile import TileLoop, TileWalk
from bevel.backends.fpga.overlay.windows import DIGIT, digits_of
from bevel.backends.process.progress import silent
from bevel.backends.program.op import Op
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mul import Mul
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output, fixed_point
from bevel.calib.errors import UserError
from fpga_programs import beside, holding

LARGE = Gemm(1, 256, 256, Output())
SMALL = Gemm(1, 16, 8, Output())


def mode_of(op: Op, target: str, mode: LogicMode = "auto") -> str:
    program = beside([op], np.random.default_rng(0))
    return chosen(program, load(target), Designing(silent, mode=mode)).mode


def test_weights_that_fit_nowhere_come_from_memory() -> None:
    assert mode_of(LARGE, "ice40-up5k").startswith("overlay of")
    assert mode_of(SMALL, "artix7-35") == "streaming"
    assert mode_of(SMALL, "artix7-35", "overlay").startswith("overlay of")


def test_streams_alone_are_refused_where_they_do_not_fit() -> None:
    with pytest.raises(UserError, match="is too large: at"):
        mode_of(LARGE, "ice40-up5k", "streaming")


def test_a_folding_has_no_overlay() -> None:
    program = beside([SMALL], np.random.default_rng(0))
    with pytest.raises(UserError, match="not with --logic-mode overlay"):
        chosen(program, load("artix7-35"), Designing(silent, folding=Path("folding.json"), mode="overlay"))


def test_groups_of_several_channels_are_streams_and_have_an_overlay() -> None:
    grouped = Conv(1, 8, 8, 8, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2, 0, Output())
    assert mode_of(grouped, "artix7-35") == "streaming"
    assert mode_of(grouped, "artix7-35", "overlay").startswith("overlay of")


def test_a_larger_part_has_a_wider_unit_and_fewer_cycles() -> None:
    network = overlay_network(beside([LARGE], np.random.default_rng(0)))
    small, large = (fitted(network, load(name).others) for name in ("ice40-up5k", "artix7-100"))
    assert large.unit.lanes > small.unit.lanes and large.model.steady_state < small.model.steady_state
    for overlay, name in ((small, "ice40-up5k"), (large, "artix7-100")):
        assert overlay.takes.within(load(name).others)


def test_activations_without_room_are_refused_with_what_they_take() -> None:
    image = Conv(1, 96, 96, 8, 16, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), 1, 0, Output())
    with pytest.raises(
        UserError, match=r"too large even with its weights outside: .* bytes of activations .* blocks of 3"
    ):
        mode_of(image, "ice40-up5k", "overlay")


def test_what_has_no_hardware_is_refused_by_name_in_both_modes() -> None:
    uneven = AveragePool(1, 4, 4, 3, (3, 3), (1, 1), (1, 1, 1, 1), 0, Output())
    with pytest.raises(
        UserError, match=r"cannot be streamed: windows at the edges .*; in overlay mode: .* has no overlay"
    ):
        mode_of(uneven, "artix7-35")


def test_constants_that_differ_from_pixel_to_pixel_and_results_of_constants_are_refused_as_such() -> None:
    rng, image = np.random.default_rng(0), (1, 4, 3, 9)
    program = beside([Mul(image, image, image, 0, 0, *fixed_point(0.004), Output())], rng)
    constant = holding(program, 1, rng.integers(-128, 128, image).astype(np.int8))
    with pytest.raises(UserError, match=r"Mul 0 \(Mul\) has no overlay: its constant is another at each pixel"):
        overlay_network(constant)
    with pytest.raises(UserError, match=r"Mul 0 \(Mul\) has no overlay: its result depends on no input"):
        overlay_network(holding(constant, 0, rng.integers(-128, 128, image).astype(np.int8)))


@pytest.mark.parametrize("factors", [(0,), (1, -1), (63, 64), (700_001, -999_999), (-(2**31), 2**31 - 1)])
def test_factors_are_the_sum_of_their_digits(factors: tuple[int, ...]) -> None:
    rows = digits_of(factors)
    assert all(-128 <= digit <= 127 for row in rows for digit in row)
    total = [sum(row[place] << DIGIT * power for power, row in enumerate(rows[::-1])) for place in range(len(factors))]
    assert total == list(factors)


def test_a_walk_goes_back_where_an_inner_loop_begins_anew() -> None:
    """Addresses as the hardware moves them are those of nested loops."""
    walk = TileWalk(
        100,
        (
            TileLoop(2, 1),
            TileLoop(3, 4, x=1),
            TileLoop(2, 40, y=1),
            TileLoop(),
            TileLoop(2, 8, x=2),
            TileLoop(2, 80, y=2),
        ),
    )
    moves = np.array(walk.moves()).reshape(6, 4)
    at, found = np.array([walk.start, walk.x, walk.y]), []
    lengths = [loop.length for loop in walk.loops]
    for places in np.ndindex(*lengths[::-1]):
        found.append(tuple(at))
        done = [place == length - 1 for place, length in zip(places[::-1], lengths, strict=True)]
        if not all(done):
            at = at + moves[done.index(False), 1:]
    steps = np.array([[loop.step, loop.x, loop.y] for loop in walk.loops[::-1]])
    wanted = [tuple(np.array([100, 0, 0]) + np.array(places) @ steps) for places in np.ndindex(*lengths[::-1])]
    assert found == wanted
