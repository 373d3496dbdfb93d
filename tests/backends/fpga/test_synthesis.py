"""Resources of a design are those of open synthesis where that is asked for."""

import json
import shutil
from pathlib import Path

import pytest
from fpga_networks import drawn_model

from bevel import optimize
from bevel.backends.fpga.synthesis import FAMILIES, counted_cells
from bevel.backends.target import load, names
from bevel.models import FOLDER, data
from bevel.tools.report.report import Report, read


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


def by_finn(weights: int, activations: int, simd: int = 8) -> float:
    """Lookup tables of a product without blocks, by the model that FINN estimates its matrix-vector units with: of the
    multiplier and its share of the additions."""
    bits = weights + activations
    return 1.1 * ((2 * -(-bits // 6) - 1) * bits + bits * (2 * simd - 1) / simd)


@pytest.mark.long
@pytest.mark.parametrize("weights", [8, 4])
def test_a_network_of_tables_takes_what_is_estimated_and_fewer_for_a_product_than_finn_estimates(
    weights: int, tmp_path: Path
) -> None:
    """Of the whole design, windows, queues and weights included, but for rescalings in blocks; one folding for both."""
    if shutil.which("yosys") is None:
        pytest.skip("yosys is not installed: apt install yosys")

    def built(target: str, bits: int, folding: Path | None, synthesize: bool) -> Report:
        return optimize(
            FOLDER / "resnet8.onnx", target=target, calib=data("calib"), output=tmp_path / target, device="none",
            weights=f"int{bits}", rounding="nearest", transform="none", folding=folding, synthesize=synthesize,
        )  # fmt: skip

    built("artix7-35", 8, None, synthesize=False)
    folding = tmp_path / "artix7-35" / "folding.json"
    nodes = json.loads(folding.read_text())
    for node in nodes.values():
        if node["multipliers"]:
            node["multiplier"] = "lut"
    folding.write_text(json.dumps(nodes))
    report = built("artix7-100", weights, folding, synthesize=True)
    found, products = report.resources, sum(node["multipliers"] for node in nodes.values())
    assert found is not None and products > 200
    assert found.lut == pytest.approx(report.size.product["lut"], rel=0.15)
    assert found.lut / products < by_finn(weights, 8)
