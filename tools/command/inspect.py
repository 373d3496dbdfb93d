"""`bevel inspect`: is the bundle as it was written, where does its memory go, what does each kernel cost, and why."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bevel.calib.errors import UserError
from bevel.tools.accuracy.broken import is_told
from bevel.tools.report import arena_map, red_lines, report, tables
from bevel.tools.run import manifest


def show_bundle(folder: Path) -> None:
    """Print a bundle. Raises UserError for a folder that is none, or whose files are not those that were written."""
    found = manifest.read(folder)
    if differences := manifest.differences(folder, found):
        raise UserError(f"{folder}: {', '.join(map(str, differences))}; run optimize again")
    told = report.read(folder)
    console = Console()
    plain(console, [f"{len(found.files)} files, each as the manifest says.", f"Made by: {found.command}"])
    tables.show_facts(console, told)
    if len(told.outputs) > 1:
        tables.show_outputs(console, told)
    plain(console, ["", "Arena", *arena_map.draw(arena_map.from_json(found.arena))])
    if told.device and told.measurement:
        title = f"Kernels on {told.device.name}"
        tables.show_kernels(console, title, told.measurement.per_kernel, told.measurement)
    tables.show_worst(console, told)
    tables.show_warnings(console, [red_lines.told_output(one, told) for one in told.outputs if is_told(one)])
    plain(console, ["", "Notes"])
    tables.show_notes(console, told.nodes)


def plain(console: Console, lines: list[str]) -> None:
    console.print(*lines, sep="\n", highlight=False, markup=False, soft_wrap=True)
