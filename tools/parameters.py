"""What click has not: counts that fit a machine, numbers that are numbers, and what a shell may complete."""

from __future__ import annotations

import math
from typing import Any

import click
from click.shell_completion import CompletionItem

COUNT = click.IntRange(1, 2**31 - 1)
SEED = click.IntRange(0, 2**63 - 1)


class Finite(click.FloatRange):
    """A number within bounds: nan is within any for click, and inf beyond none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from bevel.backends.target import names

    return [name for name in names() if name.startswith(incomplete)]


def complete_samples(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`random`, or whatever file the shell knows."""
    if incomplete and "random".startswith(incomplete):
        return [CompletionItem("random")]
    return [CompletionItem(incomplete, type="file")]
