"""Meters for the metric of a run, one for each model, and what they found, for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.data.dataset import Dataset
from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.auc import AucMeter
from bevel.tools.accuracy.metrics.metric import AUC, METRICS, PERPLEXITY, SQNR, TOP1, Meter, Metric, Run
from bevel.tools.accuracy.metrics.mse import MseMeter
from bevel.tools.accuracy.metrics.perplexity import PerplexityMeter
from bevel.tools.accuracy.metrics.script import Script, ScriptMeter, read_script
from bevel.tools.report import report

if TYPE_CHECKING:
    from bevel.tools.run.options import Options

Array = NDArray[Any]
Sample = Mapping[str, Array]

TOLD = {
    TOP1.name: "share of samples whose answer is the label",
    SQNR.name: "power of the float model's output over power of the error, of the worst output",
}


@dataclass(frozen=True)
class Judging:
    """What a run is judged by: `metric`, None where it is what the data allow (top-1 with labels, or SQNR), and the
    user's script, if it is that."""

    metric: Metric | None = None
    script: Script | None = None

    @property
    def counted(self) -> bool:
        """Whether it takes meters: top-1 and SQNR are counted in any case."""
        return self.metric is not None and self.metric not in (TOP1, SQNR)

    def meters(self, data: Dataset, count: int) -> Meters:
        """For `count` models on all of `data`."""
        return Meters(data, [self.meter(data) for _ in range(count)] if self.counted else [])

    def meter(self, data: Dataset) -> Meter:
        labels = data.labels
        if self.script is not None:
            return ScriptMeter(self.script, labels, len(data))
        if self.metric == AUC:
            return AucMeter(labels, data.group)
        return PerplexityMeter() if self.metric == PERPLEXITY else MseMeter()


def judging(options: Options) -> Judging:
    """Raises UserError for a script that cannot be used, and for budgets that the metric has no figure for."""
    if options.metric_script is not None:
        script = read_script(options.metric_script)
        found = Judging(script.metric, script)
    else:
        found = Judging(None if options.metric is None else METRICS[options.metric])
    check_budgets_fit(options, found.metric)
    return found


def check_budgets_fit(options: Options, metric: Metric | None) -> None:
    if metric == SQNR and (options.min_accuracy is not None or options.max_drop is not None):
        raise UserError("--metric sqnr: --min-accuracy and --max-drop count a loss to float; give --min-sqnr DB")
    if metric is not None and options.min_accuracy is not None and not (metric.share and metric.higher):
        raise UserError(
            f"--min-accuracy is a share from 0 to 1, and {metric.name} is none: give --max-drop PERCENT, how much "
            "worse than the float model's it may be"
        )


@dataclass
class Meters:
    """Of models that run on the same samples, the float one first. Empty where nothing is to be counted."""

    data: Dataset
    each: Sequence[Meter] = ()
    samples: int = field(default=0, init=False)

    def add(self, inputs: Sample, outputs: Sequence[Mapping[str, Array]]) -> None:
        """The outputs of each model for the next run."""
        if not self.each:
            return
        together, labels = self.data.together, self.data.labels
        rows = None
        if labels is not None and self.data.group == 1:
            rows = labels[self.samples : self.samples + together]
        for meter, found in zip(self.each, outputs, strict=True):
            meter.add(Run(inputs, found, outputs[0], rows, together))
        self.samples += together

    def values(self) -> list[float]:
        return [one.value() for one in self.each]


def with_metric(accuracy: report.Accuracy, judged: Judging, meters: Meters) -> report.Accuracy:
    """`accuracy` with the figure of the metric. Raises UserError where top-1 was asked for and there are no labels."""
    if judged.counted and judged.metric is not None:
        values = [finite(one) for one in meters.values()]
        return replace(accuracy, metric=figures(judged.metric, values, meters.each[0].told))
    labelled = accuracy.top1_float is not None
    if judged.metric == TOP1 and not labelled:
        raise UserError(f"--metric top1: {accuracy.labels_unused or '--eval has no class labels `y` for an output'}")
    if labelled and judged.metric != SQNR:
        top1 = [accuracy.top1_float, accuracy.top1_quantized, accuracy.top1_integer]
        return replace(accuracy, metric=figures(TOP1, top1, TOLD[TOP1.name]))
    decibels = [None, accuracy.quantized_sqnr_db, accuracy.sqnr_db]
    return replace(accuracy, metric=figures(SQNR, decibels, TOLD[SQNR.name]))


def figures(metric: Metric, values: Sequence[float | None], told: str) -> report.Metric:
    exact, quantized, integer = values
    better = "higher" if metric.higher else "lower"
    return report.Metric(metric.name, metric.unit, better, metric.share, exact, quantized, integer, told)


def finite(value: float) -> float | None:
    return float(np.float64(value)) if math.isfinite(value) else None
