"""What each pair of widths leaves of each network, in one table: SQNR, right answers, and the seconds it took.

    python -m bevel.tools.bench.accuracy --models DIR [--only NAME] [--widths W8A8,W4A4,e2m1/int8] [-o FILE.json]

Every cell is `optimize` for `host` as far as integer.onnx, with no option but the formats unless `--set` gives some:
what is built and measured afterwards equals integer.onnx bit for bit, so it would change no figure. `W4A4` is int4
weights and int4 for what products by weights read, as in recipe int4x4: sums of residuals, scores and results keep int8
or int16, as everything does but the weights in `W4A8`; `int4/int4` is int4 for every tensor within the model. At most
`CALIB_SAMPLES` of --calib are read, all of --eval. SQNR is that of the model's outputs, the worst of them; of networks
that end in a Softmax, `--logits` adds that of what the Softmax reads, in quantized.onnx: where shares are near 0 and 1,
the two differ by many dB.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx

from bevel.calib.data.dataset import Dataset
from bevel.calib.errors import UserError
from bevel.calib.formats.format import INT8
from bevel.passes.base import Work
from bevel.tools.accuracy.evaluate import dequantize_weights, exposing, measured, runner
from bevel.tools.accuracy.metrics.meters import with_metric
from bevel.tools.accuracy.quality import power, sqnr_db
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.command.entry import run as run_command
from bevel.tools.compile import MODELS, keep_quantized, lower, models_of, prepare, quantize_calibrated, read_model
from bevel.tools.report.report import Accuracy
from bevel.tools.run.options import Options
from bevel.tools.run.single_file import check_file, write_file
from bevel.tools.run.stages import Silent, Stages

CALIB_SAMPLES = 256
DEFAULT = "W8A8,W4A8,W3A8,W4A4"
WIDTHS = re.compile(r"W(\d+)A(\d+)")
HEAD = (
    "network",
    "weights",
    "activations",
    "SQNR",
    "logits",
    "top-1 float",
    "top-1",
    "agreement",
    "answers",
    "metric",
    "seconds",
)


@dataclass(frozen=True)
class Formats:
    """product_inputs: of what products by weights read, None where that is like all activations."""

    weights: str
    activations: str
    product_inputs: str | None = None

    @property
    def told(self) -> str:
        """Of activations."""
        return self.activations if self.product_inputs is None else f"{self.product_inputs}, sums {self.activations}"


@dataclass(frozen=True)
class AccuracyCell:
    """One network in one pair of formats. accuracy: integer.onnx beside float; logits_db: of what the last Softmax
    reads, in quantized.onnx, None where there is none or nobody asked; seconds: from the file to integer.onnx, by
    stage; refused: why there is none of this."""

    network: str
    formats: Formats
    accuracy: Accuracy | None = None
    logits_db: float | None = None
    seconds: Mapping[str, float] | None = None
    refused: str | None = None

    def row(self) -> str:
        first = [self.network, self.formats.weights, self.formats.told]
        if self.accuracy is None or self.seconds is None:
            return line([*first, f"refused: {self.refused}"])
        found, metric = self.accuracy, self.accuracy.metric
        other = metric is not None and metric.name not in ("top1", "sqnr")
        told = (
            f"{metric.name} {plain(metric.float_)} to {plain(metric.integer)}" if metric is not None and other else ""
        )
        shares = map(percent, (found.top1_float, found.top1_integer, found.agreement))
        decibels = map(in_db, (found.sqnr_db, self.logits_db))
        changes = "" if found.answers is None else found.answers.told()
        return line([*first, *decibels, *shares, changes, told, f"{sum(self.seconds.values()):.1f}"])


def line(columns: list[str]) -> str:
    return f"| {' | '.join(columns)} |"


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def plain(figure: float | None) -> str:
    """Of a metric: None is without end."""
    return "inf" if figure is None else f"{figure:.4g}"


def in_db(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def formats_of(text: str) -> Formats:
    """Of `W4A8` (int4 weights, int8 activations), of `W4A4` (what products by weights read is int4, the rest int8), or
    of two or three formats with strokes between. Raises UserError else."""
    if (found := WIDTHS.fullmatch(text)) is not None:
        weights, inputs = (f"int{bits}" for bits in found.groups())
        return Formats(weights, inputs) if int(found[2]) >= INT8.bits else Formats(weights, INT8.name, inputs)
    formats = text.split("/")
    if not (2 <= len(formats) <= 3 and all(formats)):
        raise UserError(f"--widths {text}: write W4A8, or formats of weights and activations such as e2m1/int8")
    return Formats(*formats)


def settings_of(given: tuple[str, ...]) -> dict[str, str]:
    """Of `rounding=nearest`. Raises UserError for what is no option with a value."""
    pairs = [one.partition("=") for one in given]
    if wrong := next((text for text, (name, sign, _) in zip(given, pairs, strict=True) if not (name and sign)), None):
        raise UserError(f"--set {wrong}: write an option of optimize and its value, such as rounding=nearest")
    return {name.replace("-", "_"): value for name, _, value in pairs}


def cell(subject: Subject, formats: Formats, given: Mapping[str, Any], logits: bool) -> AccuracyCell:
    try:
        with tempfile.TemporaryDirectory(prefix="bevel-") as place:
            return run(subject, formats, Path(place), given, logits)
    except UserError as error:
        return AccuracyCell(subject.name, formats, refused=str(error))


def run(subject: Subject, formats: Formats, folder: Path, given: Mapping[str, Any], logits: bool) -> AccuracyCell:
    """Raises UserError where `optimize` would."""
    if subject.evaluation is None:
        raise UserError(f"{subject.name} has no samples to judge by")
    common = {"target": "host", "device": "none", "calib": subject.calib, "eval": subject.evaluation}
    asked = {name: format for name, format in asdict(formats).items() if format is not None}
    try:
        options = Options(subject.model, output=folder / "out", **{**common, **asked, **given})
    except TypeError as error:
        raise UserError(f"--set: {error}") from error
    found = reached(options, folder)
    left = logits_db(found.canonical, found.quantized, found.samples) if logits else None
    return AccuracyCell(subject.name, formats, found.accuracy, left, found.seconds)


@dataclass(frozen=True)
class Reached:
    """What `optimize` comes to as far as integer.onnx. given: the canonical float graph before anything is done to it,
    with its calibration samples; seconds: by stage."""

    given: Work
    accuracy: Accuracy
    canonical: onnx.ModelProto
    quantized: onnx.ModelProto
    samples: Dataset
    seconds: Mapping[str, float]


def reached(options: Options, folder: Path, stages: Stages | None = None) -> Reached:
    """options: with samples to judge by. Nothing is built. Raises UserError where `optimize` would."""
    stages = stages or Stages(Silent())
    job = prepare(options, stages)
    read = read_model(job)
    given = replace(read.work, graph=read.work.graph.copy())
    found = quantize_calibrated(job, read) if read.data.calib is not None else keep_quantized(read)
    lowered = lower(job, read, found, folder, None)
    seconds = {name: round(spent, 2) for name, spent in stages.seconds.items()}
    samples = read.data.evaluation
    assert samples is not None, "--eval gives some"
    meters = job.judging.meters(samples, MODELS)
    totals = measured(models_of(read, found, lowered), read.data, lambda done, total: None, meters)
    accuracy = with_metric(totals.accuracy(), job.judging, meters)
    return Reached(given, accuracy, found.canonical, lowered.quantized, samples, seconds)


def logits_db(canonical: onnx.ModelProto, quantized: onnx.ModelProto, samples: Dataset) -> float | None:
    """SQNR of what the Softmax reads that makes the first output; None of a model that ends otherwise."""
    first, second = softmax_input(canonical), softmax_input(quantized)
    if first is None or second is None or canonical.graph.output[0].name != quantized.graph.output[0].name:
        return None
    exact, rounded = runner(exposing(canonical, [first])), runner(exposing(dequantize_weights(quantized), [second]))
    signal = noise = 0.0
    for sample in samples:
        wanted = exact.run_raw(sample)[first].astype(np.float64)
        signal += power(wanted)
        noise += power(wanted - rounded.run_raw(sample)[second])
    return sqnr_db(signal, noise)


def softmax_input(model: onnx.ModelProto) -> str | None:
    """What the Softmax reads that makes the first output of the model, perhaps between quantizers."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        node = makers.get(node.input[0])
    return node.input[0] if node is not None and node.op_type == "Softmax" else None


def cells(
    models: Path | None, only: tuple[str, ...], pairs: list[Formats], given: Mapping[str, Any], logits: bool
) -> Iterator[AccuracyCell]:
    for subject, formats in product(subjects(models, only), pairs):
        if subject.evaluation is not None:
            yield cell(subject, formats, given, logits)


@click.command()
@click.option("--models", type=click.Path(path_type=Path), help="Folders of model.onnx, calib.npz, eval.npz.")
@click.option("--only", multiple=True, help="Only this network; may be repeated.")
@click.option("--widths", default=DEFAULT, show_default=True, help="W4A8, or formats as e2m1/int8; with commas.")
@click.option("--calib-samples", default=CALIB_SAMPLES, show_default=True, help="Of --calib, at most.")
@click.option("--eval-samples", type=int, help="Of --eval, at most.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="Any option of optimize that is a text.")
@click.option("--logits", is_flag=True, help="Of what a last Softmax reads, too.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write all numbers as JSON.")
def main(
    models: Path | None,
    only: tuple[str, ...],
    widths: str,
    calib_samples: int,
    eval_samples: int | None,
    given: tuple[str, ...],
    logits: bool,
    output: Path | None,
) -> None:
    """Print a table, row by row as it is made."""
    if output is not None:
        check_file(output)
    asked = {"calib_samples": calib_samples, "eval_samples": eval_samples, **settings_of(given)}
    found = []
    click.echo(f"{line(list(HEAD))}\n|{'---|' * len(HEAD)}")
    for one in cells(models, only, [formats_of(text) for text in widths.split(",")], asked, logits):
        click.echo(one.row())
        found.append(asdict(one))
    if output is not None:
        write_file(output, (json.dumps(found, indent=2, allow_nan=False) + "\n").encode())


if __name__ == "__main__":
    sys.exit(run_command(main))
