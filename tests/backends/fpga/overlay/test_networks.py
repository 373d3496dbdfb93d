"""Whole networks in overlay mode, from float ONNX to a simulation that equals integer.onnx in onnxruntime."""

from pathlib import Path

import pytest
from fpga_networks import drawn_model

from bevel import optimize
from bevel.backends.fpga.simulation.verilator import Verilator
from bevel.tools.report.report import read


@pytest.mark.filterwarnings("ignore::bevel.ResultWarning")  # weights at random and 4 bits
@pytest.mark.parametrize(
    ("count", "seed", "weights", "target"),
    [(4, 1, "int4", "artix7-35"), pytest.param(8, 5, "int8", "ecp5-85", marks=pytest.mark.long)],
)
def test_networks_drawn_at_random_equal_onnxruntime_in_overlay_mode(
    count: int, seed: int, weights: str, target: str, tool: Verilator, tmp_path: Path
) -> None:
    model, samples = drawn_model(count, seed)
    report = optimize(
        model, target=target, calib=samples, output=tmp_path / "out", vectors=4, weights=weights, rounding="nearest",
        transform="none", name="drawn", logic_mode="overlay",
    )  # fmt: skip
    assert report.measurement is not None and report.measurement.mismatches == 0
    cycles = report.measurement.cycles
    assert cycles is not None and report == read(tmp_path / "out")
    assert cycles.steady_state == pytest.approx(cycles.model_steady_state, rel=0.02)
    assert tool.lint(tmp_path / "out" / "rtl", "drawn_top") == ""
    assert not (tmp_path / "out" / "folding.json").exists()
