"""What Yosys makes of modules computes what their Verilog says: the netlist beside it, on numbers at random.

Yosys' model of a carry cell reads bits of the vector that it drives. Verilator 5.006 loses carries of long chains in it
(0 of 20,000 products of 32 x 32 bits were wrong with the carry spelled out, 20 without; Yosys' own `eval` of the same
netlist was right), so that cell is spelled out here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.fpga.logic import MultiplierBlock
from bevel.backends.fpga.simulation.verilator import MAKE, Verilator
from bevel.backends.fpga.stages import dot
from bevel.backends.fpga.stages.pair import pair_of_sums
from bevel.backends.fpga.stages.requantizer import Requantizer
from bevel.backends.fpga.stages.weights import PowersOfTwo, Signed
from bevel.backends.fpga.verilog.text import Module
from bevel.calib.arithmetic.requantize import Output

CLOCKS = 20_000
CARRY = """module CARRY4(output [3:0] CO, output [3:0] O, input CI, input CYINIT, input [3:0] DI, S);
  wire c0 = CI | CYINIT;
  wire c1 = S[0] ? c0 : DI[0];
  wire c2 = S[1] ? c1 : DI[1];
  wire c3 = S[2] ? c2 : DI[2];
  wire c4 = S[3] ? c3 : DI[3];
  assign CO = {c4, c3, c2, c1};
  assign O = S ^ {c3, c2, c1, c0};
endmodule
"""
MAIN = """#include "Vtop.h"
#include "verilated.h"
#include <cstdio>
int main() {
  VerilatedContext context;
  Vtop top{&context};
  for (int edge = 0; edge < 2 * %d; ++edge) { top.clk = edge & 1; top.eval(); }
  std::printf("%%u\\n", static_cast<unsigned>(top.bad));
}
"""


def modules() -> list[Module]:
    """Two sums in one row of blocks, products in tables, and a rescaling by two blocks."""
    pair = pair_of_sums(5, 8, (-128, 127), (-127, 127), MultiplierBlock())
    assert pair is not None
    scaling = Requantizer(
        "scaled", (-70000, 80000), np.array([2**30 + 12345, 2**31 - 1]), np.array([45, 42]), Output(3)
    )
    products = [dot.dot(2, 8, one, "lut") for one in (Signed(8), Signed(5), PowersOfTwo(3))]
    return [pair.module(), *products, scaling.module()]


def top(made: list[Module]) -> str:
    """Modules and their netlists side by side, fed by one shift register, and how often they differed."""
    lines, differ = [], []
    for module in made:
        ports = re.findall(r"(input|output)\s+(?:wire|reg)\s+(?:signed )?\[(\d+):0\] (\w+)", module.text)
        for kind in ("", "_netlist"):
            joined = [".clk(clk)", ".en(1'b1)"]
            for place, (direction, high, port) in enumerate(ports):
                if direction == "input":
                    joined.append(f".{port}(noise[{17 * place} +: {int(high) + 1}])")
                    continue
                wire = f"{module.name}_{port}{kind}"
                lines.append(f"  wire [{high}:0] {wire};")
                joined.append(f".{port}({wire})")
                if kind:
                    differ.append(f"{wire} != {module.name}_{port}")
            lines.append(f"  {module.name}{kind} {module.name}{kind}_i ({', '.join(joined)});")
    body, wrong = "\n".join(lines), " || ".join(differ)
    return f"""module top(input clk, output reg [31:0] bad);
  reg [159:0] noise;
  reg [31:0] cycle;
  initial noise = 160'h123456789abcdef0fedcba9876543210_deadbeef;
  initial cycle = 0;
  initial bad = 0;
{body}
  integer step;
  always @(posedge clk) begin
    for (step = 0; step < 31; step = step + 1)
      noise = {{noise[158:0], noise[159] ^ noise[156] ^ noise[150] ^ noise[149]}};
    cycle <= cycle + 1;
    if (cycle > 40 && ({wrong})) bad <= bad + 1;
  end
endmodule
"""


@pytest.mark.long
def test_netlists_compute_what_their_modules_do(tool: Verilator, tmp_path: Path) -> None:
    yosys = shutil.which("yosys")
    if yosys is None:
        pytest.skip("yosys is not installed: apt install yosys")
    cells = Path(yosys).parent.parent / "share" / "yosys" / "xilinx" / "cells_sim.v"
    if not cells.exists():
        pytest.skip(f"{cells} is not there")
    made = modules()
    for module in made:
        (tmp_path / f"{module.name}.v").write_text(module.text)
        script = f"read_verilog -sv {module.name}.v; synth_xilinx -family xc7 -noiopad -noclkbuf -top {module.name}; "
        script += f"rename {module.name} {module.name}_netlist; write_verilog -noattr {module.name}_netlist.v"
        subprocess.run([yosys, "-q", "-p", script], cwd=tmp_path, check=True)
    netlist = "".join((tmp_path / f"{module.name}_netlist.v").read_text() for module in made)
    assert "DSP48E1" in netlist and "CARRY4" in netlist
    (tmp_path / "cells.v").write_text(
        re.sub(r"module CARRY4\(.*?endmodule\n", CARRY, cells.read_text(), flags=re.DOTALL)
    )
    (tmp_path / "top.v").write_text(top(made))
    (tmp_path / "main.cpp").write_text(MAIN % CLOCKS)
    sources = sorted(path.name for path in tmp_path.glob("*.v"))
    flags = ("--cc", "--exe", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-UNOPTFLAT", "--top-module", "top")
    tool.run((tool.command, *flags, *sources, "main.cpp", "-o", "bench"), tmp_path)
    tool.run(("make", "-s", "-C", "obj_dir", "-f", "Vtop.mk", *MAKE, "bench"), tmp_path)
    assert tool.run((str(tmp_path / "obj_dir" / "bench"),), tmp_path).strip() == "0"
