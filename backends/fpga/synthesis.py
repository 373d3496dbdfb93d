"""Resources of a design by open synthesis: Yosys maps its modules to the cells of a family, each distinct one once.

Cells are counted as what they take of a part: a memory of lookup tables as those that it is made of (AMD UG474, Lattice
FPGA-TN-02204 and FPGA-TN-02026), a carry of the ECP5 as the two tables that it closes. Lookup tables are counted one a
cell: Yosys does not put two small ones into one, as vendors' tools do.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bevel.backends.binary.synthesized import Synthesized
from bevel.backends.process import processes
from bevel.backends.target import Target
from bevel.calib.errors import UserError

LIMIT_S = 3600
Cells = Mapping[str, float]


@dataclass(frozen=True)
class LogicFamily:
    """script: of Yosys, behind the reading; what a cell counts for, by the expression that its whole name matches."""

    script: str
    tables: Cells
    memories: Cells
    registers: Cells
    multipliers: Cells
    blocks: Cells

    def counted(self, cells: Mapping[str, int], tool: str, part: str) -> Synthesized:
        memory, ff, dsp, bram = (
            weighed(cells, names) for names in (self.memories, self.registers, self.multipliers, self.blocks)
        )
        lut = weighed(cells, self.tables) + memory
        return Synthesized(round(lut), round(memory), round(ff), round(dsp), bram, tool, part)


XILINX = LogicFamily(
    "synth_xilinx -family {family} -noiopad -noclkbuf -top {top}",
    tables={r"LUT\d": 1, "INV": 1},
    memories={"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8}
    | {"SRL16E": 1, "SRLC32E": 1},
    registers={r"FD[RSCP]E(_1)?": 1},
    multipliers={r"DSP48E\d": 1},
    blocks={r"RAMB36E\d": 1, r"RAMB18E\d": 0.5},
)
FAMILIES = {  # by the last part of a target's triple
    "7series": XILINX,
    "ultrascale": XILINX,
    "ecp5": LogicFamily(
        "synth_ecp5 -top {top}",
        tables={"LUT4": 1, "CCU2C": 2},
        memories={"TRELLIS_DPR16X4": 4},
        registers={"TRELLIS_FF": 1},
        multipliers={"MULT18X18D": 1},
        blocks={"DP16KD": 0.5},
    ),
    "ice40": LogicFamily(
        "synth_ice40 -dsp -top {top}",
        tables={"SB_LUT4": 1},
        memories={},
        registers={r"SB_DFF\w*": 1},
        multipliers={"SB_MAC16": 1},
        blocks={r"SB_RAM40_4K\w*": 1 / 9},
    ),
}
CODES = {"7series": "xc7", "ultrascale": "xcup"}  # what Yosys calls them


def weighed(cells: Mapping[str, int], names: Cells) -> float:
    """The sum of all cells, each counted as what it takes."""
    return sum(
        count * each for cell, count in cells.items() for name, each in names.items() if re.fullmatch(name, cell)
    )


def counted_cells(text: str) -> dict[str, int]:
    """Of the whole design, which `stat` tells of last."""
    told = text[text.rindex("Number of cells:") :]
    return {name: int(count) for name, count in re.findall(r"^ +(\w+) +(\d+)$", told, re.MULTILINE)}


def missing() -> str | None:
    return None if shutil.which("yosys") else "Yosys is not installed (apt install yosys): it would synthesize it"


def synthesize(folder: Path, top: str, target: Target) -> Synthesized:
    """What the design in a bundle's rtl/ and mem/ takes of `target`. Raises UserError without Yosys, and where it
    rejects the design."""
    if why := missing():
        raise UserError(why)
    name = target.triple.rpartition("-")[2]
    script = FAMILIES[name].script.format(top=top, family=CODES.get(name, ""))
    version = " ".join(processes.run(("yosys", "-V")).stdout.split()[:2])
    with TemporaryDirectory(prefix="bevel-") as place:
        work = Path(place)
        for path in [*(folder / "rtl").glob("*.v"), *(folder / "mem").glob("*.mem")]:
            shutil.copy(path, work)
        sources = " ".join(sorted(path.name for path in work.glob("*.v")))
        commands = f"read_verilog -sv -defer {sources}; {script}; tee -q -o stat.txt stat"
        done = processes.run(("yosys", "-q", "-p", commands), work, timeout=LIMIT_S)
        if done.returncode:
            raise UserError(f"Yosys did not synthesize {top}: {(done.stderr or done.stdout).strip()[-500:]}")
        cells = counted_cells((work / "stat.txt").read_text(encoding="utf-8"))
    return FAMILIES[name].counted(cells, version, target.cpu)
