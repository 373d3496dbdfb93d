"""Foldings within a part's resources, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.fpga import folding_file, timing
from bevel.backends.fpga.network import Folded, StreamNetwork, network_of
from bevel.backends.fpga.node import Folding
from bevel.backends.fpga.search import estimated, fold
from bevel.backends.program.op import Op
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.resources import Resources
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from fpga_programs import beside

CONV = Conv(1, 8, 8, 8, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, 0, Output())
PART = load("artix7-35").others


def network(*ops: Op) -> StreamNetwork:
    return network_of(beside(ops or (CONV, Gemm(1, 64, 64, Output())), np.random.default_rng(0)))


def test_with_half_of_a_part_a_frame_takes_more_cycles() -> None:
    found = network()
    cycles = []
    for share in (2, 4, 8):
        limits = Resources({name: amount / share for name, amount in PART.items()})
        folded = Folded.of(found, fold(found, limits))
        assert estimated(folded, timing.depths(folded)).within(limits)
        cycles.append(folded.cycles)
    assert cycles[0] < cycles[1] < cycles[2]


def test_tables_multiply_where_there_are_no_blocks_to_spare() -> None:
    found = network()
    chosen = fold(found, PART | Resources({"dsp": 20}))
    assert "lut" in {one.multiplier for one in chosen}
    assert (
        Folded.of(found, chosen).cycles
        < Folded.of(found, fold(found, PART | Resources({"dsp": 20, "lut": 3000}))).cycles
    )


def test_what_fits_nowhere_is_refused_with_the_least_that_would() -> None:
    with pytest.raises(UserError, match=r"at \d[\d,]* cycles a frame it takes about \d[\d,]* lookup tables of 100"):
        fold(network(), PART | Resources({"lut": 100}))


def test_a_folding_is_written_and_read_back(tmp_path: Path) -> None:
    found = network()
    folded = Folded.of(found, fold(found, PART))
    path = tmp_path / "folding.json"
    path.write_text(folding_file.text(folded))
    assert fold(found, PART, folding_file.read(path)) == folded.foldings
    edited = json.loads(path.read_text())
    edited[found.nodes[0].name] |= {"outputs": 1, "rows": 1, "channels": 1, "multiplier": "lut"}
    path.write_text(json.dumps(edited))
    assert fold(found, PART, folding_file.read(path))[0] == Folding(multiplier="lut")


def test_a_folding_that_divides_nothing_is_refused(tmp_path: Path) -> None:
    found = network()
    with pytest.raises(UserError, match="Conv_0 cannot be folded so"):
        fold(found, PART, {found.nodes[0].name: Folding(outputs=7)})
    path = tmp_path / "folding.json"
    for text in ("{", "[]", '{"a": {"outputs": 0, "rows": 1, "channels": 1, "multiplier": "dsp"}}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"is no folding\.json"):
            folding_file.read(path)


def test_what_cannot_be_streamed_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"Conv 0 \(Conv\) cannot be streamed: a batch of 2"):
        network(replace(CONV, batch=2))


def test_groups_of_channels_are_one_with_weights_of_zero() -> None:
    (node,) = network(replace(CONV, groups=2)).nodes
    weights = node.call.constants[0]
    assert weights.shape == (16, 3, 3, 8) and weights[:8, :, :, :4].any() and weights[8:, :, :, 4:].any()
    assert not weights[:8, :, :, 4:].any() and not weights[8:, :, :, :4].any()


def test_a_frame_takes_as_long_as_the_slowest_stage_and_a_moved_one_waits_for_all_of_it() -> None:
    found = network(Transpose((1, 4, 6), (0, 2, 1)))
    folded = Folded.of(found, [Folding()])
    model = timing.modelled(folded)
    assert model.steady_state == 24 and 48 <= model.first_frame <= 60
