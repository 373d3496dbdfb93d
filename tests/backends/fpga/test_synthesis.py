"""Resources of a design are those of open synthesis where that is asked for."""

import shutil
from pathlib import Path

import pytest
from fpga_networks import drawn_model

from bevel import optimize
from bevel.backends.fpga.synthesis import FAMILIES, counted_cells
from bevel.backends.target import load, names
from bevel.tools.report.report import read


def test_every_part_has_a_family_of_cells() -> None:
    parts = [load(name) for name in names() if "streams" in load(name).abilities]
    assert len(parts) >= 6 and {part.triple.rpartition("-")[2] for part in parts} <= set(FAMILIES)


def test_cells_are_counted_as_what_they_take_of_a_part() -> None:
    text = """
=== one ===
   Number of cells:                  9
     LUT2                            9

=== design hierarchy ===
   Number of cells:                 99
     DSP48E1                         3
     FDRE                           20
     LUT2                            9
     LUT6                            1
     RAM32M                          2
     RAMB18E1                        1
     RAMB36E1                        4
     one                             1
"""
    found = FAMILIES["7series"].counted(counted_cells(text), "Yosys 0.23", "xc7a35t")
    assert (found.lut, found.memory_lut, found.ff, found.dsp, found.bram) == (18, 8, 20, 3, 4.5)
    assert found.told.startswith("18 lookup tables (8 of them memories), 20 flip-flops")


@pytest.mark.filterwarnings("ignore::bevel.ResultWarning")  # weights at random and 4 bits
def test_a_report_has_what_synthesis_counts_beside_what_was_estimated(tmp_path: Path) -> None:
    if shutil.which("yosys") is None:
        pytest.skip("yosys is not installed: apt install yosys")
    model, samples = drawn_model(1, 3)
    report = optimize(
        model, target="ecp5-85", calib=samples, output=tmp_path / "out", device="none", weights="int4",
        rounding="nearest", transform="none", name="tiny", synthesize=True,
    )  # fmt: skip
    found = report.resources
    assert found is not None and found.part == "lfe5u-85" and found.tool.startswith("Yosys")
    assert found.dsp >= report.size.product["dsp"] > 0 and found.lut > 500 and found.ff > 500
    assert read(tmp_path / "out") == report
