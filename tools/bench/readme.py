"""The tables of figures in README.md, made again by the command that stands above them.

    python -m bevel.tools.bench.readme [--write README.md]

Each row is a run of `optimize` for cortex-m7 with zig and unicorn, which any user has: `arm-none-eabi-gcc` must not be
on the PATH, as it would be preferred. A table is the lines that begin with `|` after the one that names its columns.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from bevel import UserError, optimize
from bevel.backends.program.resources import Resource
from bevel.tools.bench.subjects import Subject, reference_networks
from bevel.tools.command.entry import run as run_command
from bevel.tools.report.report import Report
from bevel.tools.run import manifest

TARGET = "cortex-m7"
COMPILER = "zig"
OF_FORMATS = "resnet8"  # the network of the second table
FORMATS = ("int8", "int6", "int5", "int4", "int3", "int2", "ternary", "e2m1", "e2m3", "e3m2", "e4m3", "mxfp4")

Column = Callable[[Report], str]


@dataclass(frozen=True)
class FiguresTable:
    """`key`: the first column; columns: the others, in order; rows: what each is called, and its run."""

    key: str
    columns: Mapping[str, Column]
    rows: Mapping[str, Callable[[], Report]]

    @property
    def head(self) -> str:
        return line([self.key, *self.columns])

    def lines(self, told: Callable[[str], None] = lambda row: None) -> Iterator[str]:
        yield self.head
        yield f"|{'---|' * (1 + len(self.columns))}"
        for name, run in self.rows.items():
            told(name)
            yield self.row(name, run())

    def row(self, name: str, report: Report) -> str:
        return line([f"`{name}`", *(column(report) for column in self.columns.values())])


def line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def product(resource: Resource) -> Column:
    return lambda report: f"{report.size.product[resource]:,}"


def top1(model: str) -> Column:
    return lambda report: f"{100 * getattr(report.accuracy, f'top1_{model}'):.1f} %"


def quantized(report: Report) -> str:
    return f"{report.size.quantized_bytes:,}"


def instructions(report: Report) -> str:
    assert report.measurement is not None and report.measurement.mismatches == 0
    return f"{report.measurement.spent[Resource.INSTRUCTIONS]:,}"


def sqnr(report: Report) -> str:
    assert report.accuracy is not None and report.accuracy.sqnr_db is not None
    return f"{report.accuracy.sqnr_db:.1f} dB"


def run(subject: Subject, weights: str = "int8", compiler: str = COMPILER) -> Report:
    """Raises UserError where another compiler than that built it."""
    with tempfile.TemporaryDirectory(prefix="bevel-") as place:
        folder = Path(place) / "out"
        report = optimize(
            subject.model,
            target=TARGET,
            calib=subject.calib,
            eval=subject.evaluation,
            output=folder,
            weights=weights,
        )
        found = manifest.read(folder).tools["compiler"]
    if not found.startswith(compiler):
        raise UserError(f"{found} is found first, and README.md's tables are of {compiler}: take it off the PATH")
    return report


def tables() -> list[FiguresTable]:
    networks = {subject.name: subject for subject in reference_networks()}
    return [
        FiguresTable(
            "network",
            {
                "top-1 float": top1("float"),
                "top-1 integer": top1("integer"),
                "SQNR": sqnr,
                "float, bytes": lambda report: f"{report.size.float_bytes:,}",
                "quantized, bytes": quantized,
                "flash, bytes": product(Resource.FLASH),
                "RAM, bytes": product(Resource.RAM),
                "instructions": instructions,
            },
            {name: partial(run, subject) for name, subject in networks.items()},
        ),
        FiguresTable(
            "`--weights`",
            {
                "SQNR": sqnr,
                "top-1 integer": top1("integer"),
                "quantized.onnx, bytes": quantized,
                "weights in flash, bytes": product(Resource.WEIGHTS),
                "flash, bytes": product(Resource.FLASH),
                "instructions": instructions,
            },
            {one: partial(run, networks[OF_FORMATS], one) for one in FORMATS},
        ),
    ]


def replaced(text: str, head: str, made: list[str]) -> str:
    """`text` with another table below that head. Raises UserError where it has none, or several."""
    lines = text.splitlines()
    if lines.count(head) != 1:
        raise UserError(f"the columns of a table stand {lines.count(head)} times in the file: {head}")
    first = lines.index(head)
    last = next((place for place in range(first, len(lines)) if not lines[place].startswith("|")), len(lines))
    return "\n".join([*lines[:first], *made, *lines[last:]]) + "\n"


def put(head: str, made: list[str], file: Path | None) -> None:
    """Print a table, and write it where it stands in a file."""
    click.echo("\n".join(["", *made]))
    if file is not None:
        file.write_text(replaced(file.read_text(), head, made))


@click.command()
@click.option("--write", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Put them into this file.")
def main(write: Path | None) -> None:
    """Make the tables of README.md again, and print them."""
    for table in tables():
        put(table.head, list(table.lines(lambda row: click.echo(row, err=True))), write)


if __name__ == "__main__":
    sys.exit(run_command(main))
