"""README.md's tables of networks on cores, and on a CPU, beside other systems, from what a run of a benchmark found.

bevel bench mcu --models DIR --reference FILE -o found.json
bevel bench cpu --models DIR -o found.json
python -m bevel.tools.bench.compared found.json [--avx2] [--write README.md]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bevel.backends.program.resources import Resource
from bevel.calib.errors import UserError
from bevel.tools.bench.readme import line, put
from bevel.tools.bench.reference import geometric_mean
from bevel.tools.bench.tables import MEAN
from bevel.tools.command.entry import run as run_command

COLUMNS = {"instructions": Resource.INSTRUCTIONS, "flash, bytes": Resource.FLASH, "arena, bytes": Resource.ARENA}
HEAD = line(["network", "core", *(cell for name in COLUMNS for cell in (name, "of TFLM's"))])

RATIOS = ("ratio_best", "ratio_float")
CPU_COLUMNS = ["threads", "µs", "best peer", "its µs", "of it", "of onnxruntime's float"]
CPU_HEAD, AVX2_HEAD = (line([network, *CPU_COLUMNS]) for network in ("network", "network, on AVX2"))

Found = Mapping[str, Any]  # what `bevel bench mcu -o` wrote, and each row of `bevel bench cpu -o`


def lines(found: Found) -> Iterator[str]:
    """Raises UserError where an element differed, or a cell has nothing to compare with."""
    ratios = {(one["model"], one["core"]): one for one in found["ratios"]}
    yield HEAD
    yield f"|{'---|' * (2 + 2 * len(COLUMNS))}"
    for cell in found["cells"]:
        place = (cell["model"], cell["core"])
        if cell["mismatches"] or place not in ratios:
            raise UserError(f"{' on '.join(place)} differs from integer.onnx, or has nothing to be compared with")
        yield row(*place, [f"{amount(cell, one):,}" for one in COLUMNS.values()], ratios[place])
    for mean in found["geometric_means"]:
        yield row(MEAN, mean["core"], ["" for _ in COLUMNS], mean)


def amount(cell: Found, resource: Resource) -> int:
    return int(cell[resource.key])


def row(name: str, core: str, amounts: list[str], shares: Found) -> str:
    told = [share(shares[one]) for one in COLUMNS.values()]
    return line([name, core, *(cell for pair in zip(amounts, told, strict=True) for cell in pair)])


def cpu_lines(rows: Sequence[Found], head: str = CPU_HEAD) -> Iterator[str]:
    """Raises UserError where an element differed, or a network has no peer."""
    yield head
    yield f"|{'---|' * 7}"
    for one in rows:
        if one["mismatches"] or one["best_peer"] is None:
            raise UserError(f"{one['model']} differs from integer.onnx, or has nothing to be compared with")
        times = f"{one['bevel_us']:.1f}", one["best_peer"], f"{one['peers'][one['best_peer']]:.1f}"
        yield line([one["model"], str(one["threads"]), *times, *(share(one[ratio]) for ratio in RATIOS)])
    for threads in sorted({one["threads"] for one in rows}):
        means = (geometric_mean(one[ratio] for one in rows if one["threads"] == threads) for ratio in RATIOS)
        yield line([MEAN, str(threads), "", "", "", *map(share, means)])


def share(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}x"


@click.command()
@click.argument("found", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--write", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Put it into this file.")
@click.option("--avx2", is_flag=True, help="The table of a CPU without VNNI.")
def main(found: Path, write: Path | None, avx2: bool) -> None:
    """Make the table of FOUND, what `bevel bench mcu -o` or `bevel bench cpu -o` wrote, and print it."""
    try:
        told = json.loads(found.read_text())
    except ValueError:
        raise UserError(f"{found} is not JSON: give what a benchmark wrote by -o") from None
    if isinstance(told, list):
        head = AVX2_HEAD if avx2 else CPU_HEAD
        put(head, list(cpu_lines(told, head)), write)
    else:
        put(HEAD, list(lines(told)), write)


if __name__ == "__main__":
    sys.exit(run_command(main))
