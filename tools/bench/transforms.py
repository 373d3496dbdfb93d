"""What transforms recover where channels are outliers: each network as it is, and with some channels made louder.

    python -m bevel.tools.bench.transforms [--models DIR] [--only NAME] [--weights FORMAT] [--activations FORMAT]

In every place where scales of channels are free (`bevel.passes.transform.flow`), a few are scaled by `FACTOR`: what
makes these channels multiplies by it, what reads them divides. The function stays; a scale for a whole tensor then fits
the loud channels and loses the others. SQNR is integer.onnx against the float model, on --eval.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnx_graphsurgeon as gs

import bevel
from bevel.passes.transform.flow import find_flow
from bevel.passes.transform.sites import apply_scales, find_sites
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.compile import prepare, read_model
from bevel.tools.report.report import Report
from bevel.tools.run.options import Options
from bevel.tools.run.stages import Silent, Stages

FACTOR = 30.0
SHARE = 16  # of so many channels of a place, one is made louder, and one at least
TRANSFORMS = ("none", "smooth,smooth-keys", "smooth,smooth-keys,rotate-stream,rotate-values", "auto")


@dataclass(frozen=True)
class TransformCell:
    """One network, with outliers or without, by one choice of `--transform`."""

    network: str
    outliers: bool
    transform: str
    report: Report

    def row(self) -> str:
        accuracy = self.report.accuracy
        assert accuracy is not None, "subjects without samples to judge by are left out"
        figure = "" if accuracy.metric is None else f"{accuracy.metric.integer:.4g} {accuracy.metric.name}"
        taken = ", ".join(one.transform for one in self.report.transforms)
        kept = f" ({taken})" if self.transform == "auto" and taken else ""
        place = "with outliers" if self.outliers else "as it is"
        return f"| {self.network} | {place} | `{self.transform}`{kept} | {accuracy.sqnr_db:.1f} dB | {figure} |"


def louder(graph: gs.Graph, seed: int = 0) -> gs.Graph:
    """`graph`, canonical and float, with outliers: edited in place; it computes the same."""
    flow, rng = find_flow(graph), np.random.default_rng(seed)
    logs: dict[int, float] = {}
    for site in find_sites(flow):
        count = max(1, len(site.scales) // SHARE)
        logs |= dict.fromkeys(rng.choice(site.scales, count, replace=False).tolist(), float(np.log(FACTOR)))
    apply_scales(flow, logs)
    return graph


def canonical(options: Options) -> gs.Graph:
    return read_model(prepare(options, Stages(Silent()))).work.graph


def cells(subject: Subject, given: dict[str, Any], transforms: Sequence[str]) -> Iterator[TransformCell]:
    with tempfile.TemporaryDirectory(prefix="bevel-") as place:
        folder = Path(place)
        common = {"target": "host", "calib": subject.calib, "eval": subject.evaluation, **given}
        graph = canonical(Options(subject.model, output=folder / "read", **common))
        for outliers in (False, True):
            model = folder / f"{subject.name}.onnx"
            onnx.save(gs.export_onnx(louder(graph) if outliers else graph), model)
            for number, transform in enumerate(transforms):
                output = folder / f"{outliers}{number}"
                report = bevel.optimize(model, output=output, device="none", transform=transform, **common)
                yield TransformCell(subject.name, outliers, transform, report)


@click.command()
@click.option("--models", type=click.Path(path_type=Path), help="Folders of model.onnx, calib.npz, eval.npz.")
@click.option("--only", multiple=True, help="Only this network; may be repeated.")
@click.option("--weights", default="int8", show_default=True)
@click.option("--activations", default="int8", show_default=True)
@click.option("--samples", type=int, help="Of --calib and --eval, at most.")
@click.option("--transforms", default=";".join(TRANSFORMS), help="Choices of --transform, between semicolons.")
def main(
    models: Path | None, only: tuple[str, ...], weights: str, activations: str, samples: int | None, transforms: str
) -> None:
    """Print a table."""
    given: dict[str, Any] = {"weights": weights, "activations": activations}
    if samples is not None:
        given |= {"calib_samples": samples, "eval_samples": samples}
    click.echo("| network | channels | `--transform` | SQNR | metric |\n|---|---|---|---|---|")
    for subject in subjects(models, only):
        if subject.evaluation is not None:
            for cell in cells(subject, given, transforms.split(";")):
                click.echo(cell.row())


if __name__ == "__main__":
    main()
