"""What transforms recover where channels are outliers: each network as it is, and with outliers put in (`outliers`).

    python -m bevel.tools.bench.transforms [--models DIR] [--only NAME] [--recipes NAME,..] [--samples N]

Figures are of integer.onnx on --eval: SQNR against the float model in dB, and the metric where that is no share.
Weights are rounded to the nearest unless `--rounding` says otherwise: what is compared are transforms. Nothing is
built: devices equal integer.onnx bit for bit.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import onnx
import onnx_graphsurgeon as gs

from bevel.calib.data.dataset import Runs
from bevel.calib.errors import UserError
from bevel.tools.bench.accuracy import in_db, line, plain, reached
from bevel.tools.bench.outliers import concentrated, louder
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.command.entry import run as run_command
from bevel.tools.compile import prepare, read_model
from bevel.tools.report.report import Accuracy
from bevel.tools.run.options import Options
from bevel.tools.run.stages import Silent, Stages

# Smoothed once more behind the rotation of the stream, which takes up the scales of gains
SMOOTHING, TURNED = "smooth,smooth-keys", "rotate-values,rotate-online"
TRANSFORMS = {
    "none": "none",
    "smoothing": SMOOTHING,
    "rotation": f"rotate-stream,{TURNED}",
    "smoothing, rotation": f"{SMOOTHING},rotate-stream,smooth,{TURNED}",
    "auto": "auto",
}
RECIPES = ("int8", "int4x4")
KINDS = ("hidden", "stream", "both")


@dataclass(frozen=True)
class TransformRow:
    """One network by one choice of transforms: by each recipe, with each kind of outliers."""

    network: str
    transform: str
    found: tuple[Accuracy, ...]

    def text(self) -> str:
        return line([self.network, self.transform, *map(figures, self.found)])


def figures(accuracy: Accuracy) -> str:
    metric = accuracy.metric
    more = "" if metric is None or metric.name in ("top1", "sqnr") else f", {plain(metric.integer)}"
    return f"{in_db(accuracy.sqnr_db)} dB{more}"


def with_outliers(graph: gs.Graph, kind: str, samples: Runs) -> gs.Graph:
    """A copy. Loud hidden channels come on top of a loud stream. Raises UserError for a kind that there is not."""
    match kind:
        case "none":
            return graph.copy()
        case "hidden":
            return louder(graph.copy())
        case "stream":
            return concentrated(graph.copy(), samples)
        case "both":
            return louder(concentrated(graph.copy(), samples))
    raise UserError(f"--outliers {kind}: known are none, {', '.join(KINDS)}")


def rows(
    subject: Subject,
    recipes: Sequence[str],
    kinds: Sequence[str],
    transforms: Sequence[str],
    given: Mapping[str, Any],
) -> Iterator[TransformRow]:
    with tempfile.TemporaryDirectory(prefix="bevel-") as place:
        folder = Path(place)
        common = {
            "target": "host",
            "calib": subject.calib,
            "eval": subject.evaluation,
            "output": folder / "out",
            **given,
        }
        read = read_model(prepare(Options(subject.model, **common), Stages(Silent())))
        for kind in kinds:
            onnx.save(gs.export_onnx(with_outliers(read.work.graph, kind, read.work.samples)), folder / f"{kind}.onnx")
        chosen = {name: one for name, one in common.items() if name not in ("dim", "batch")}  # the sizes are static now
        for name in transforms:
            asked = chosen | {"transform": TRANSFORMS[name], "device": "none"}
            every = [Options(folder / f"{kind}.onnx", recipe=recipe, **asked) for recipe in recipes for kind in kinds]
            yield TransformRow(subject.name, name, tuple(reached(one, folder).accuracy for one in every))


@click.command()
@click.option("--models", type=click.Path(path_type=Path), help="Folders of model.onnx, calib.npz, eval.npz.")
@click.option("--only", multiple=True, help="Only this network; may be repeated.")
@click.option("--recipes", default=",".join(RECIPES), show_default=True)
@click.option("--outliers", default=",".join(KINDS), show_default=True, help="What is put in; `none` is nothing.")
@click.option("--transforms", default=";".join(TRANSFORMS), show_default=True, help="Rows, between semicolons.")
@click.option("--rounding", default="nearest", show_default=True, help="As `optimize` has it.")
@click.option("--samples", type=int, help="Of --calib and --eval, at most.")
@click.option("--dim", multiple=True, help="As `optimize` has it.")
@click.option("--metric", help="As `optimize` has it.")
def main(
    models: Path | None,
    only: tuple[str, ...],
    recipes: str,
    outliers: str,
    transforms: str,
    rounding: str,
    samples: int | None,
    dim: tuple[str, ...],
    metric: str | None,
) -> None:
    """Print a table."""
    given: dict[str, Any] = {"dim": dim, "metric": metric, "rounding": rounding}
    if samples is not None:
        given |= {"calib_samples": samples, "eval_samples": samples}
    names, kinds, asked = recipes.split(","), outliers.split(","), transforms.split(";")
    if wrong := next((one for one in asked if one not in TRANSFORMS), None):
        raise UserError(f"--transforms {wrong}: known are {'; '.join(TRANSFORMS)}")
    columns = [f"`{recipe}`" + ("" if kind == "none" else f", {kind}") for recipe in names for kind in kinds]
    click.echo(f"{line(['network', 'transforms', *columns])}\n|{'---|' * (2 + len(columns))}")
    for subject in subjects(models, only):
        if subject.evaluation is not None:
            for row in rows(subject, names, kinds, asked, given):
                click.echo(row.text())


if __name__ == "__main__":
    sys.exit(run_command(main))
