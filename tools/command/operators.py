"""`bevel operators`: what a target computes in integers, and what besides on a CPU."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bevel.backends import target as targets
from bevel.passes.partition.listed_operators import listed_operators

HEAD = ("operators", "activations", "limits")


def show_operators(target: str | None, markdown: bool) -> None:
    """The list as a table for the terminal or the README. Raises UserError for a target that there is none of."""
    floats = target is not None and not targets.load(target).bare
    rows = [(", ".join(one.ops), one.formats, one.limits) for one in listed_operators()]
    if markdown:
        click.echo("\n".join(markdown_lines(rows)))
        return
    table = Table(title=None if target is None else f"In integers on {target}, bit for bit")
    for name in HEAD:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
    if target is not None:
        print(told(target, floats))


def markdown_lines(rows: list[tuple[str, str, str]]) -> list[str]:
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    return [*lines, *(f"| {', '.join(f'`{op}`' for op in ops.split(', '))} | {a} | {b} |" for ops, a, b in rows)]


def told(target: str, floats: bool) -> str:
    """What becomes of other operators."""
    if floats:
        return f"Other operators run in float32 on {target}, through TVM's importer, and the notes name them."
    return f"Other operators are refused for {target}, with the reason; --outputs-at NAME cuts a model before them."
