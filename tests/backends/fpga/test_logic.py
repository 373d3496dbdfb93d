"""Estimates of pieces of an accelerator are what Yosys makes of them for the 7 series: one synthesis shows all."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping

import numpy as np
import pytest

from bevel.backends.fpga.logic import MultiplierBlock, memory, style
from bevel.backends.fpga.stages import dot
from bevel.backends.fpga.stages.pair import pair_of_sums
from bevel.backends.fpga.stages.weights import Coding, PowersOfTwo, Signed, coding
from bevel.backends.fpga.verilog.text import Module
from bevel.backends.program.resources import Resource, Resources

WITHIN = 0.15
DOTS: list[tuple[int, int, Coding]] = [
    (4, 8, Signed(8)),
    (2, 8, Signed(4)),
    (2, 4, Signed(4)),
    (4, 8, PowersOfTwo(2)),
    (2, 8, PowersOfTwo(3)),
]
PAIRS = [
    (4, 127, MultiplierBlock()),
    (9, 127, MultiplierBlock()),
    (6, 7, MultiplierBlock()),
    (4, 7, MultiplierBlock(18, 18)),
]
MEMORIES = [(96, 40), (48, 24)]

Cells = Mapping[str, int]


def rom(words: int, bits: int) -> Module:
    name = f"rom_{words}"
    lines = (f"{pow(3, place + 1, (1 << bits) - 5):0{bits // 4}x}\n" for place in range(words))
    text = f"""module {name} (input wire clk, input wire [6:0] at, output reg [{bits - 1}:0] found);
  {style(words, bits)}reg [{bits - 1}:0] entries[0:{words - 1}];
  initial $readmemh("{name}.mem", entries);
  always @(posedge clk) found <= entries[at];
endmodule
"""
    return Module(name, text, {f"{name}.mem": "".join(lines)})


def pair(terms: int, most: int, block: MultiplierBlock) -> tuple[Module, Resources]:
    found = pair_of_sums(terms, 8, (-128, 127), (-most, most), block)
    assert found is not None
    return found.module(), found.estimate()


def pieces() -> list[tuple[Module, Resources]]:
    found = [(dot.dot(*one, "lut"), dot.estimate(*one, "lut")) for one in DOTS]
    found += [pair(*one) for one in PAIRS]
    return found + [(rom(*one), memory(*one, False)) for one in MEMORIES]


@pytest.fixture(scope="module")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Cells]:
    """The cells of every piece, {module: {kind: count}}, all of them beside each other in one top."""
    yosys = shutil.which("yosys")
    if yosys is None:
        pytest.skip("yosys is not installed: apt install yosys")
    folder, ports, instances, texts = tmp_path_factory.mktemp("pieces"), ["input wire clk", "input wire en"], [], []
    for module, _ in pieces():
        texts.append(module.text)
        for name, text in module.memories.items():
            (folder / name).write_text(text)
        joined = [".clk(clk)"] + ([".en(en)"] if "wire en," in module.text else [])
        found = re.findall(r"(input|output)\s+(?:wire|reg) (?:signed )?(\[\d+:0\]) (\w+)", module.text)
        for direction, width, name in found:
            ports.append(f"{direction} wire {width} {module.name}_{name}")
            joined.append(f".{name}({module.name}_{name})")
        instances.append(f"  {module.name} {module.name}_i ({', '.join(joined)});")
    body = "\n".join(instances)
    (folder / "top.v").write_text("\n".join(texts) + f"\nmodule top ({', '.join(ports)});\n{body}\nendmodule\n")
    script = "read_verilog -sv top.v; synth_xilinx -family xc7 -noiopad -noclkbuf -top top; tee -o stat.json stat -json"
    subprocess.run([yosys, "-q", "-p", script], cwd=folder, check=True)
    told = json.loads((folder / "stat.json").read_text())["modules"]
    return {name.removeprefix("\\"): one["num_cells_by_type"] for name, one in told.items()}


def tables(cells: Cells) -> int:
    return sum(count for name, count in cells.items() if re.fullmatch(r"LUT\d", name))


def test_products_and_memories_take_what_is_estimated(synthesized: Mapping[str, Cells]) -> None:
    """Tables within 15 %; blocks exactly: one for each two products that share it."""
    for module, estimate in pieces():
        cells = synthesized[module.name]
        assert tables(cells) == pytest.approx(estimate[Resource.LUT], rel=WITHIN, abs=2), module.name
        assert cells.get("DSP48E1", 0) == estimate[Resource.DSP], module.name
        blocks = cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2
        assert blocks == estimate[Resource.BRAM], module.name


def test_narrow_weights_take_fewer_tables_than_wide_ones_and_powers_of_two_fewer_than_what_they_stand_for() -> None:
    def of(coding: Coding) -> float:
        return dot.estimate(4, 8, coding, "lut")[Resource.LUT]

    assert of(Signed(4)) < 0.6 * of(Signed(8))
    assert of(PowersOfTwo(2)) < of(Signed(4)) and of(PowersOfTwo(3)) < of(Signed(8))


def test_weights_are_spelled_as_what_multiplies_with_the_fewest_tables() -> None:
    assert coding(np.array([-4, 0, 1, 2]), True) == PowersOfTwo(2)
    assert coding(np.array([-4, 0, 3, 2]), True) == Signed(3)
    assert coding(np.array([-64, 32, 0]), True) == PowersOfTwo(3)
    assert coding(np.array([-64, 32, 0]), False) == Signed(7)
