"""`bevel inspect`: is the bundle as it was written, where does its memory go, what does each kernel cost, and why."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bevel.calib.errors import UserError
from bevel.tools import arena_map, manifest, report, tables


def show_bundle(folder: Path) -> None:
    """Print a bundle. Raises UserError for a folder that is none, or whose files are not those that were written."""
    found = manifest.read(folder)
    if differences := manifest.differences(folder, found):
        raise UserError(f"{folder}: {', '.join(map(str, differences))}; run optimize again")
    told = report.read(folder)
    console = Console()
    console.print(
        f"{len(found.files)} files, each as the manifest says ({found.command})", highlight=False, markup=False
    )
    console.print("Arena: ", *arena_map.draw(arena_map.from_json(found.arena)), sep="\n", highlight=False, markup=False)
    if told.measurement and told.measurement.per_kernel:
        title = f"Kernels on {told.device.name}" if told.device else "Kernels"
        console.print(tables.kernel_table(title, told.measurement.per_kernel, told.measurement))
    tables.show_report(console, told)
    tables.show_notes(console, told.nodes)
