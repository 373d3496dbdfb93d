"""A benchmark as a person reads it in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bevel.backends.program.resources import Resource
from bevel.tools.bench.cells import Cell, Refusal
from bevel.tools.bench.reference import Means, Ratio
from bevel.tools.report.tables import decibels, seconds

MEAN = "geometric mean"
PLAIN_WIDTH = 140  # of a table that goes to a file


def console() -> Console:
    """For standard output."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def show_cells(console: Console, cells: Sequence[Cell]) -> None:
    """One row a network and core: instructions are executed instructions of a simulator, not cycles."""
    table = numbers(
        "network", "core", right=("instructions", "MAC/instr.", "flash", "arena", "SQNR", "elements that differ")
    )
    for cell in cells:
        executed = cell.spent.get(Resource.INSTRUCTIONS)
        per = f"{cell.macs / executed:.2f}" if executed else ""
        counted = f"{executed:,}" if executed else "-"
        sizes = (f"{cell.product[Resource.FLASH]:,}", f"{cell.product[Resource.ARENA]:,}")
        quality = "" if cell.sqnr_db is None else decibels(cell.sqnr_db)
        table.add_row(escape(cell.model), cell.core, counted, per, *sizes, quality, f"{cell.mismatches}")
    show(console, "Executed instructions of one inference (not cycles); flash and arena in bytes", table)


def show_estimates(console: Console, cells: Sequence[Cell]) -> None:
    """Cycles that were computed, apart from everything that was counted."""
    table = numbers("network", "core", right=("cycles", "clock", "time"))
    for cell in cells:
        if cell.estimate is not None:
            clock = f"{cell.estimate.clock_hz / 1e6:.0f} MHz"
            row = (f"{cell.estimate.cycles:,}", clock, seconds(cell.estimate.latency_s))
            table.add_row(escape(cell.model), cell.core, *row)
    if table.row_count:
        show(console, "Estimates from each core's documents, without wait states: not measured", table)


def show_refusals(console: Console, refusals: Sequence[Refusal]) -> None:
    for one in refusals:
        text = f"[bold]{escape(one.model)}[/] on {one.core}: {escape(one.reason)}"
        console.print(text, highlight=False, soft_wrap=True)


def show_ratios(console: Console, ratios: Sequence[Ratio], means: Sequence[Means], title: str) -> None:
    """Ours as a fraction of the reference: below 1 we need less."""
    table = numbers("network", "core", right=("instructions", "flash", "arena"))
    for one in ratios:
        table.add_row(escape(one.model), one.core, *map(times, (one.instructions, one.flash, one.arena)))
    table.add_section()
    for mean in means:
        table.add_row(MEAN, mean.core, *map(times, (mean.instructions, mean.flash, mean.arena)))
    show(console, title, table)


def show_unmatched(console: Console, cells: Sequence[Cell]) -> None:
    """A mean over fewer networks must say so."""
    for cell in cells:
        text = f"{cell.model} on {cell.core} is in no mean of instructions: nothing to compare, or a wrong output"
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def numbers(*left: str, right: Sequence[str]) -> Table:
    table = Table()
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def times(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}x"


def show(console: Console, title: str, table: Table) -> None:
    console.print(f"\n[bold]{escape(title)}[/]", highlight=False, soft_wrap=True)
    console.print(table)
