"""Types of options that click has not: counts that fit a machine, and numbers that are numbers."""

from __future__ import annotations

import math
from typing import Any

import click

COUNT = click.IntRange(1, 2**31 - 1)
SEED = click.IntRange(0, 2**63 - 1)


class Finite(click.FloatRange):
    """A number within bounds: nan is within any for click, and inf beyond none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number
