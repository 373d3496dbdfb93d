"""Estimates of pieces of an accelerator are what Yosys makes of them for the 7 series."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bevel.backends.fpga.logic import memory, style
from bevel.backends.fpga.stages import dot
from bevel.backends.program.resources import Resource

WITHIN = 0.15


def synthesized(text: str, top: str, folder: Path) -> dict[str, int]:
    """Cells by their kind."""
    yosys = shutil.which("yosys")
    if yosys is None:
        pytest.skip("yosys is not installed: apt install yosys")
    (folder / "top.v").write_text(text)
    script = "read_verilog -sv top.v; synth_xilinx -family xc7 -noiopad -noclkbuf -top " + top
    subprocess.run([yosys, "-q", "-p", f"{script}; tee -o stat.txt stat"], cwd=folder, check=True)
    found = re.findall(r"^ +([A-Z]\w+) +(\d+)$", (folder / "stat.txt").read_text(), re.MULTILINE)
    return {name: int(count) for name, count in found}


def tables(cells: dict[str, int]) -> int:
    return sum(count for name, count in cells.items() if re.fullmatch(r"LUT\d", name))


@pytest.mark.parametrize(("terms", "x_bits", "w_bits"), [(4, 8, 8), (2, 8, 4), (4, 8, 2), (2, 4, 4)])
def test_sums_of_products_take_the_tables_that_are_estimated(
    terms: int, x_bits: int, w_bits: int, tmp_path: Path
) -> None:
    module = dot.dot(terms, x_bits, w_bits, "lut")
    found = tables(synthesized(module.text, module.name, tmp_path))
    assert found == pytest.approx(dot.estimate(terms, x_bits, w_bits, "lut")[Resource.LUT], rel=WITHIN)


@pytest.mark.parametrize(("words", "bits"), [(96, 40), (48, 24)])
def test_constants_become_the_blocks_or_tables_that_are_estimated(words: int, bits: int, tmp_path: Path) -> None:
    lines = (f"{pow(3, place + 1, (1 << bits) - 5):0{bits // 4}x}\n" for place in range(words))
    (tmp_path / "words.mem").write_text("".join(lines))
    text = f"""module rom (input wire clk, input wire [6:0] at, output reg [{bits - 1}:0] found);
  {style(words, bits)}reg [{bits - 1}:0] entries[0:{words - 1}];
  initial $readmemh("words.mem", entries);
  always @(posedge clk) found <= entries[at];
endmodule
"""
    cells, estimate = synthesized(text, "rom", tmp_path), memory(words, bits, False)
    blocks = cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2
    assert blocks == estimate[Resource.BRAM]
    assert tables(cells) == pytest.approx(estimate[Resource.LUT], rel=WITHIN)
