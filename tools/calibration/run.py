"""Quantize with one choice of calibration samples after the other, and say how far accuracy and ranges move.

For each rule and each number of samples, some draws: a rule that draws nothing has one. A verdict is told of the first
rule: the fewest samples of which no more than `NEAR` dB are lost beside the most, and come and go. Source: Paglieri et
al. 2024, "Outliers and Calibration Sets have Diminishing Effect on Quantization of Modern LLMs", whose comparison of
sets and sizes this makes for one model.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev

import click
from rich.console import Console

from bevel.calib.data.select import rule, rule_names
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.passes.base import Work
from bevel.passes.exchange.export import export
from bevel.passes.quantize.wanted import ranges
from bevel.tools.bench.accuracy import reached
from bevel.tools.command.quiet import quiet_libraries
from bevel.tools.run.options import Options
from bevel.tools.run.single_file import check_file, write_file
from bevel.tools.run.stages import Bars, Silent, Stages

NEAR = 0.2  # dB
HEAD = ("rule", "samples", "draws", "SQNR", "deviation", "lowest", "agreement", "range that moves most", "by")

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class AskedDraws:
    rules: tuple[str, ...]
    sizes: tuple[int, ...]
    seeds: int

    @staticmethod
    def of(rules: str, sizes: str, seeds: int) -> AskedDraws:
        """Raises UserError for what is no rule, or no number."""
        named = tuple(name.strip() for name in rules.split(","))
        for name in named:
            if name not in rule_names():
                raise UserError(f"--rules: no rule {name!r}; known are {', '.join(rule_names())}")
        counts = [text.strip() for text in sizes.split(",")]
        if wrong := next((text for text in counts if not text.isdecimal() or int(text) < 1), None):
            raise UserError(f"--sizes: {wrong!r} is no number of samples; write 8,16,32")
        return AskedDraws(named, tuple(sorted(set(map(int, counts)))), seeds)

    def draws(self, name: str) -> int:
        return self.seeds if rule(name).draws else 1


@dataclass(frozen=True)
class Draw:
    """What one choice of samples came to. sqnr_db: None where nothing is lost; ranges: lowest and highest of each
    tensor of the float model that they show."""

    rule: str
    samples: int
    seed: int
    sqnr_db: float | None
    agreement: float | None
    ranges: Ranges


@dataclass(frozen=True)
class Sensitivity:
    """Draws of one rule and size together. spread: how many times as wide the widest range of `tensor` is as its
    narrowest, over the draws; the tensor is that which moves most."""

    rule: str
    samples: int
    draws: int
    sqnr_db: float
    deviation_db: float
    lowest_db: float
    agreement: float | None
    tensor: str | None
    spread: float

    def row(self) -> list[str]:
        told = "" if self.agreement is None else f"{100 * self.agreement:.2f} %"
        figures = [f"{one:.2f} dB" for one in (self.sqnr_db, self.deviation_db, self.lowest_db)]
        moved = ["", ""] if self.tensor is None else [self.tensor, f"{self.spread:.2f} x"]
        return [self.rule, str(self.samples), str(self.draws), *figures, told, *moved]


def show_calibration(options: Options, asked: AskedDraws, output: Path | None) -> None:
    """Print a table, row by row as it is made, then the verdict."""
    if output is not None:
        check_file(output)
    quiet_libraries()
    click.echo(line(HEAD))
    click.echo(f"|{'---|' * len(HEAD)}")
    draws: list[Draw] = []
    found: list[Sensitivity] = []
    for part in tried(options, asked):
        draws += part
        found.append(together(part))
        click.echo(line(found[-1].row()))
    click.echo(verdict([one for one in found if one.rule == asked.rules[0]]))
    if output is not None:
        told = {"sensitivity": [asdict(one) for one in found], "draws": [asdict(one) for one in draws]}
        write_file(output, (json.dumps(told, indent=2, allow_nan=False) + "\n").encode())


def line(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"


def tried(options: Options, asked: AskedDraws) -> Iterator[list[Draw]]:
    """The draws of each rule and size. Sizes beyond what --calib has are all of it, once."""
    for name in asked.rules:
        for size in asked.sizes:
            part = [draw(options, name, size, options.seed + place) for place in range(asked.draws(name))]
            yield part
            if part[0].samples < size:
                break


def draw(options: Options, name: str, size: int, seed: int) -> Draw:
    given = replace(options, calib_select=name, calib_samples=size, seed=seed)
    with tempfile.TemporaryDirectory(prefix="bevel-") as place:
        shown = Bars(Console(stderr=True)) if sys.stderr.isatty() else nullcontext(Silent())
        with shown as display:
            found = reached(given, Path(place), Stages(display))
    accuracy, runs = found.accuracy, len(found.given.samples)
    return Draw(name, runs, seed, accuracy.sqnr_db, accuracy.agreement, ranges_of(found.given))


def ranges_of(work: Work) -> Ranges:
    """What the samples show of the float model's tensors."""
    seen = observe(export(work.graph), work.samples, ranges(work.graph))
    return {name: (one.low, one.high) for name, one in seen.items()}


def together(draws: Sequence[Draw]) -> Sensitivity:
    """draws: of one rule and size."""
    first, exact = draws[0], 200.0  # dB that nothing lost counts as, beyond what float32 tells apart
    left = [exact if one.sqnr_db is None else one.sqnr_db for one in draws]
    agreed = [one.agreement for one in draws if one.agreement is not None]
    moved = {name: spread([one.ranges[name] for one in draws]) for name in first.ranges}
    tensor = max(moved, key=moved.__getitem__, default=None)
    return Sensitivity(
        first.rule,
        first.samples,
        len(draws),
        fmean(left),
        pstdev(left),
        min(left),
        fmean(agreed) if agreed else None,
        tensor,
        1.0 if tensor is None else moved[tensor],
    )


def spread(seen: Sequence[tuple[float, float]]) -> float:
    widths = [max(high, 0.0) - min(low, 0.0) for low, high in seen]
    return max(widths) / min(widths) if min(widths) > 0 else 1.0


def verdict(found: Sequence[Sensitivity]) -> str:
    """found: of one rule, from the fewest samples to the most."""
    most = found[-1]
    enough = next(one for one in found if one is most or is_near(one, most))
    if enough is most:
        return f"{most.samples} samples are not shown to be enough: fewer lose, or come and go by, over {NEAR} dB"
    return f"{enough.samples} samples are enough: {most.samples} leave no more than {NEAR} dB more"


def is_near(one: Sensitivity, most: Sensitivity) -> bool:
    return one.sqnr_db >= most.sqnr_db - NEAR and one.deviation_db <= NEAR
