"""Points of an accuracy-cost picture, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.tools.report.report import Report

Kind = Literal["uniform", "searched"]


@dataclass(frozen=True)
class Point:
    """One build, as measured. `formats`: what each node of the integer graph is held in."""

    label: str
    kind: Kind
    product: Resources
    spent: Resources
    mismatches: int | None
    sqnr_db: float | None
    top1: float | None
    formats: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refused:
    """A build that was not possible, and why."""

    label: str
    kind: Kind
    reason: str


def point(label: str, kind: Kind, told: Report) -> Point:
    measured, accuracy = told.measurement, told.accuracy
    return Point(
        label=label,
        kind=kind,
        product=told.size.product,
        spent=NOTHING if measured is None else measured.spent,
        mismatches=None if measured is None else measured.mismatches,
        sqnr_db=None if accuracy is None else accuracy.sqnr_db,
        top1=None if accuracy is None else accuracy.top1_integer,
        formats={node.name: node.format for node in told.nodes if node.format is not None},
    )


def flash(one: Point) -> int:
    return one.product.whole(Resource.FLASH)


def quality(one: Point) -> float:
    """The SQNR in dB; outputs without an error are above all others."""
    return float("inf") if one.sqnr_db is None else one.sqnr_db


def front(points: Iterable[Point], value: Callable[[Point], float] = quality) -> list[Point]:
    """The points of which none is smaller and at least as good as they are; by flash, ascending."""
    best: list[Point] = []
    for one in sorted(points, key=lambda one: (flash(one), -value(one))):
        if not best or value(one) > value(best[-1]):
            best.append(one)
    return best


def budgets(uniform: Sequence[Point], count: int) -> list[int]:
    """`count` flash sizes in equal ratios, strictly between the smallest and the largest uniform build.

    Fewer where whole bytes do not give so many, none where there is no room between them.
    """
    sizes = [flash(one) for one in uniform]
    if len(sizes) < 2 or min(sizes) >= max(sizes):
        return []
    ratio = (max(sizes) / min(sizes)) ** (1 / (count + 1))
    found = {round(min(sizes) * ratio**step) for step in range(1, count + 1)}
    return sorted(size for size in found if min(sizes) < size < max(sizes))
