"""The picture: accuracy over flash, uniform formats as labelled rings, searched ones as dots, the best as a stair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bevel.calib.errors import UserError
from bevel.calib.extras import to_install
from bevel.tools.pareto.points import Point, flash, front

PICTURES = ("pareto.png", "pareto.svg")
DOTS_PER_INCH = 150
UNIFORM, SEARCHED = "#b35806", "#1f4e9c"  # told apart by people who see colours differently, and in grey
LABEL_WIDTH = 0.08  # of the picture: labels that would be closer go to different sides of their marks

FAR_BELOW = 5  # times the distance from the median to the best; marks below that stand on the edge, with their number

Axes = Any
Place = tuple[float, float, Point]


def require_matplotlib() -> None:
    """Raises UserError naming the extra where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        raise UserError(f"matplotlib is not installed: {to_install('plot')} would draw the picture") from None
    matplotlib.use("agg")


def draw(title: str, points: Sequence[Point], folder: Path) -> None:
    """Write PICTURES into `folder`: SQNR, and top-1 accuracy below it where it was measured, over flash."""
    import matplotlib
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "bevel", "font.size": 9.0}  # the same picture gives the same bytes
    panels: list[tuple[str, Callable[[Point], float | None]]] = [("SQNR of the outputs (dB)", lambda one: one.sqnr_db)]
    if any(one.top1 is not None for one in points):
        panels.append(("top-1 accuracy (%)", lambda one: None if one.top1 is None else 100 * one.top1))
    figure, rows = pyplot.subplots(len(panels), 1, sharex=True, squeeze=False, figsize=(7.5, 0.8 + 3.2 * len(panels)))
    for (axes,), (name, value) in zip(rows, panels, strict=True):
        draw_panel(axes, points, value)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3, which="both")
    rows[0][0].set_title(title)
    rows[0][0].legend(loc="lower right")
    rows[-1][0].set_xlabel("flash (KiB)")
    figure.tight_layout()
    for name in PICTURES:
        figure.savefig(folder / name, dpi=DOTS_PER_INCH, metadata={"Date": None} if name.endswith("svg") else {})
    pyplot.close(figure)


def draw_panel(axes: Axes, points: Sequence[Point], value: Callable[[Point], float | None]) -> None:
    lowest = floor([height for one in points if (height := value(one)) is not None])
    uniform = placed([one for one in points if one.kind == "uniform"], value, lowest)
    searched = placed([one for one in points if one.kind == "searched"], value, lowest)
    best = placed(front((one for _, _, one in uniform + searched), lambda one: value(one) or 0.0), value, lowest)
    best.append((max(columns(uniform + searched)[0]), best[-1][1], best[-1][2]))  # as good, but no smaller
    axes.step(*columns(best), where="post", color="0.75", zorder=1, label="best of all")
    axes.plot(*columns(searched), "o", color=SEARCHED, markersize=5, zorder=3, label="searched per node")
    axes.plot(*columns(uniform), "o", color=UNIFORM, markersize=7, markerfacecolor="none", zorder=2, label="uniform")
    names = [one.label if (value(one) or lowest) >= lowest else f"{one.label}: {value(one):.1f}" for *_, one in uniform]
    label(
        axes, uniform, names, LABEL_WIDTH * (max(columns(uniform + searched)[0]) - min(columns(uniform + searched)[0]))
    )
    axes.margins(x=0.06, y=0.14)


def floor(heights: Sequence[float]) -> float:
    """Where the picture ends below: a build that lost nearly all would press the others together."""
    median = sorted(heights)[len(heights) // 2]
    return max(min(heights), median - FAR_BELOW * (max(heights) - median + 1.0))


def label(axes: Axes, places: Sequence[Place], names: Sequence[str], width: float) -> None:
    """The name of each point below it, or above where the one before it, within `width`, has its own below."""
    before, above = -width, False
    for (size, height, _), name in zip(places, names, strict=True):
        above = not above and size < before + width
        offset, anchor = ((0, 7), "bottom") if above else ((0, -8), "top")
        axes.annotate(name, (size, height), offset, textcoords="offset points", color=UNIFORM, ha="center", va=anchor)
        before = size


def placed(points: Sequence[Point], value: Callable[[Point], float | None], lowest: float) -> list[Place]:
    """(KiB, height, point) of the points that have a height, `lowest` at least, from small to large."""
    found = [(flash(one) / 1024, max(height, lowest), one) for one in points if (height := value(one)) is not None]
    return sorted(found, key=lambda place: place[:2])


def columns(places: Sequence[Place]) -> tuple[list[float], list[float]]:
    return [size for size, _, _ in places], [height for _, height, _ in places]
