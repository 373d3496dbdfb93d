"""Build every uniform format, then search at flash budgets between them; write what came of it as JSON and pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bevel.backends.process.litter import scratch
from bevel.backends.program.resources import Resource
from bevel.calib.errors import UserError
from bevel.tools.assign.run import Searches
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.compile import compile_model
from bevel.tools.pareto.points import Kind, Point, Refused, budgets, front, point
from bevel.tools.report.report import flat
from bevel.tools.report.tables import decibels, percent
from bevel.tools.run import bundle, manifest
from bevel.tools.run.manifest import Manifest
from bevel.tools.run.options import Options
from bevel.tools.run.stages import Bars, Display, Silent, Stages
from bevel.tools.run.staging import staged

WRONG_OUTPUTS = 1
PLAIN_WIDTH = 120  # of a table that goes to a file
JSON = "pareto.json"


@dataclass(frozen=True)
class Wanted:
    """formats: of all weights at once; searched: how many budgets between them; asked: what is searched among, if not
    what `optimize` takes by itself."""

    formats: tuple[str, ...]
    searched: int
    asked: tuple[str, ...] = ()


def show_pareto(options: Options, wanted: Wanted) -> None:
    """Run, write `options.output` and print the table. Exits with 1 where a device computed something else than
    integer.onnx: a bug of ours. Raises UserError where a picture cannot be drawn, before anything is built."""
    from bevel.tools.pareto.draw import draw, require_matplotlib

    require_matplotlib()
    quiet_libraries()
    with scratch(), staged(options.output, options.sources) as folder:
        with Bars(Console(stderr=True)) if sys.stderr.isatty() else nullcontext(Silent()) as display:
            results = run_all(options, wanted, display)
        points = [one for one in results if isinstance(one, Point)]
        refused = [one for one in results if isinstance(one, Refused)]
        if not points:
            raise UserError(f"nothing could be built: {refused[0].reason}")
        title = f"{options.name or options.model.stem} on {options.target}"
        (folder / JSON).write_text(json.dumps(to_json(title, points, refused), indent=2, allow_nan=False) + "\n")
        draw(title, points, folder)
        files = manifest.hashes(folder)
        manifest.write(folder, Manifest(bundle.version(), options.command, {}, files, {}, {}, {}))
    show_points(Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH), title, points, refused)
    if any(one.mismatches for one in points):
        raise click.exceptions.Exit(WRONG_OUTPUTS)


def run_all(options: Options, wanted: Wanted, display: Display) -> list[Point | Refused]:
    """Uniform builds in the order given, then searched ones from the smallest budget up."""
    results: list[Point | Refused] = []
    searches = Searches()
    with TemporaryDirectory(prefix="bevel-pareto-") as place, Stages(display)("pareto") as advance:
        total = len(wanted.formats) + wanted.searched
        for format in wanted.formats:
            advance(len(results), total)
            given = replace(options, weights=format, output=Path(place) / f"{len(results)}")
            results.append(attempt(format, "uniform", given))
        uniform = [one for one in results if isinstance(one, Point)]
        for size in budgets(uniform, wanted.searched):
            advance(len(results), total)
            given = replace(options, max_flash=size, formats=wanted.asked, output=Path(place) / f"{len(results)}")
            results.append(attempt(f"at most {size:,} bytes", "searched", given, searches))
    return results


def attempt(label: str, kind: Kind, options: Options, searches: Searches | None = None) -> Point | Refused:
    try:
        return point(label, kind, compile_model(options, Stages(), searches))
    except UserError as error:
        return Refused(label, kind, str(error))


def to_json(title: str, points: Sequence[Point], refused: Sequence[Refused]) -> dict[str, Any]:
    """The same for the same tools: no times and no paths. `front` has the labels of the points that none beats."""
    return {
        "bevel": bundle.version(),
        "title": title,
        "points": [flat(asdict(one)) for one in points],
        "front": [one.label for one in front(points)],
        "refused": [asdict(one) for one in refused],
    }


def show_points(console: Console, title: str, points: Sequence[Point], refused: Sequence[Refused]) -> None:
    table = Table("weights", "best")
    for name in ("flash", "RAM", "instructions", "SQNR", "top-1"):
        table.add_column(name, justify="right")
    best = front(points)
    for one in points:
        counted = one.spent.get(Resource.INSTRUCTIONS)
        count = "" if counted is None else f"{counted:,}"
        sizes = f"{one.product[Resource.FLASH]:,}", f"{one.product[Resource.RAM]:,}"
        table.add_row(one.label, "*" * (one in best), *sizes, count, decibels(one.sqnr_db), percent(one.top1))
    console.print(f"\n[bold]{escape(title)}[/] (*: no smaller build has a higher SQNR)", highlight=False)
    console.print(table)
    for other in refused:
        console.print(f"{other.label}: {other.reason}", highlight=False, markup=False, soft_wrap=True)
