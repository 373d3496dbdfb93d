"""`bevel bench gpu` from the command line, on a network small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevel.backends.devices.opencl import OpenCl
from bevel.backends.gpu import nvcc
from bevel.backends.target import load
from bevel.tools.command import cli


def test_every_call_is_compared_where_a_device_is_here_and_kernels_are_counted_where_not(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, output = tmp_path / "networks", tmp_path / "found.json"
    place.mkdir()
    inputs.rename(place / "tiny")
    missing = {"opencl": OpenCl(load("opencl")).missing(), "cuda-sm87": nvcc.missing()}
    targets = [name for name, why in missing.items() if why is None]
    if not targets:
        pytest.skip("neither an OpenCL device nor nvcc is here")
    words = ["--models", str(place), "--targets", ",".join(targets), "-o", str(output)]
    assert cli.main(["bench", "gpu", *words]) == 0
    rows = json.loads(output.read_text())
    assert [one["target"] for one in rows] == targets
    for one in rows:
        assert one["calls"] == one["on_device"] > 0 and one["launches"] >= one["on_device"]
        assert one["bound_bytes"] <= one["device_bytes"] <= 1.1 * one["bound_bytes"]
        assert one["mismatches"] == (None if one["device"] is None else 0)
        if one["target"] != "opencl":
            assert (
                one["by_dots"] + one["by_matrices"] == one["products"] > 0
                and one["least_s"] > 0
                and one["spilled"] == 0
                and 0 < one["occupancy"] <= 1
            )
    assert "tiny" in capsys.readouterr().out
