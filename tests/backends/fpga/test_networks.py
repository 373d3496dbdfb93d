"""Whole networks, from float ONNX to a simulation that equals integer.onnx in onnxruntime: many beside each other
in one build, as that is what takes long."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from fpga_networks import drawn_model

from bevel import optimize
from bevel.backends.fpga import search, timing
from bevel.backends.fpga.network import Folded, StreamNetwork
from bevel.backends.fpga.node import Folding
from bevel.backends.fpga.simulation.verilator import Verilator
from bevel.backends.program.resources import Resources
from bevel.models import FOLDER, data
from bevel.tools.report.report import read
from fpga_programs import drawn


@pytest.mark.filterwarnings("ignore::bevel.ResultWarning")  # weights at random and 4 bits
@pytest.mark.parametrize(
    ("count", "seed", "weights", "activations"),
    [(4, 3, "int4", "int4"), pytest.param(20, 0, "int8", "int8", marks=pytest.mark.long)],
)
def test_networks_drawn_at_random_equal_onnxruntime_however_they_are_folded(
    count: int,
    seed: int,
    weights: str,
    activations: str,
    tool: Verilator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, samples = drawn_model(count, seed)

    def at_random(
        network: StreamNetwork, limits: Resources, given: Mapping[str, Folding] | None = None
    ) -> tuple[Folded, list[int]]:
        folded = Folded.of(network, drawn(network, np.random.default_rng(seed)))
        return folded, timing.depths(folded)

    monkeypatch.setattr(search, "fitted", at_random)
    report = optimize(
        model,
        target="artix7-35",
        calib=samples,
        output=tmp_path / "out",
        vectors=4,
        weights=weights,
        activations=activations,
        rounding="nearest",
        transform="none",
        name="drawn",
    )
    assert report.device is not None and report.device.name == "verilator"
    assert report.measurement is not None and report.measurement.mismatches == 0
    assert report.measurement.cycles is not None and report == read(tmp_path / "out")
    assert tool.lint(tmp_path / "out" / "rtl", "drawn_top") == ""


@pytest.mark.long
def test_a_vision_transformer_is_an_accelerator_and_takes_the_cycles_of_its_model(
    tool: Verilator, tmp_path: Path
) -> None:
    report = optimize(
        FOLDER / "vit.onnx", target="artix7-100", calib=data("calib"), output=tmp_path / "out", vectors=4,
        rounding="nearest", transform="none",
    )  # fmt: skip
    assert report.measurement is not None and report.measurement.mismatches == 0
    cycles = report.measurement.cycles
    assert cycles is not None
    assert cycles.steady_state == pytest.approx(cycles.model_steady_state, rel=0.02)
    assert cycles.first_frame == pytest.approx(cycles.model_first_frame, rel=0.05)
    assert tool.lint(tmp_path / "out" / "rtl", "vit_top") == ""
