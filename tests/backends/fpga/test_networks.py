"""Whole networks, from float ONNX to a simulation that equals integer.onnx in onnxruntime."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from fpga_networks import drawn_model

from bevel import optimize
from bevel.backends.fpga import search
from bevel.backends.fpga.network import StreamNetwork
from bevel.backends.fpga.node import Folding
from bevel.backends.fpga.simulation.verilator import Verilator
from bevel.backends.program.resources import Resources
from bevel.tools.report.report import read
from fpga_programs import drawn


@pytest.mark.filterwarnings("ignore::bevel.ResultWarning")  # weights at random and 4 bits
@pytest.mark.parametrize(("seed", "weights"), [(0, "int8"), (1, "int4")])
def test_networks_drawn_at_random_equal_onnxruntime_however_they_are_folded(
    seed: int, weights: str, tool: Verilator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, samples = drawn_model(5, seed)

    def at_random(
        network: StreamNetwork, limits: Resources, given: Mapping[str, Folding] | None = None
    ) -> tuple[Folding, ...]:
        return tuple(drawn(network, np.random.default_rng(seed)))

    monkeypatch.setattr(search, "fold", at_random)
    report = optimize(
        model,
        target="artix7-35",
        calib=samples,
        output=tmp_path / "out",
        vectors=4,
        weights=weights,
        rounding="nearest",
        transform="none",
        name="drawn",
    )
    assert report.device is not None and report.device.name == "verilator"
    assert report.measurement is not None and report.measurement.mismatches == 0
    assert report.measurement.cycles is not None and report == read(tmp_path / "out")
    assert tool.lint(tmp_path / "out" / "rtl", "drawn_top") == ""
