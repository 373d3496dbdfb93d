"""`bevel recipes`: the ways to quantize that ship, one paragraph each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from bevel.passes.recipes import WrittenRecipe, shipped

NAME = "name"


def show_recipes() -> None:
    console = Console()
    for one in shipped():
        console.print("\n".join(lines(one)), highlight=False, soft_wrap=True)


def lines(one: WrittenRecipe) -> Iterator[str]:
    yield f"[bold]{escape(one.name)}[/] ({escape(one.family)}): {escape(one.summary)}"
    yield f"  passes: {escape(', '.join(map(described, one.steps)))}"
    yield f"  source: {escape(one.source)}"
    yield f"  here:   {escape(one.gain)}"


def described(step: Mapping[str, Any]) -> str:
    """'round-weights (rounding=nearest)'."""
    options = ", ".join(f"{key}={value}" for key, value in step.items() if key != NAME)
    return f"{step[NAME]} ({options})" if options else str(step[NAME])
