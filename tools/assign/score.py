"""What an assignment really does: its model on samples, beside the float model on the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.backends.program.program import Port
from bevel.calib.data.dataset import Dataset
from bevel.passes.states.pairs import results_of, states_of
from bevel.tools.accuracy import evaluate
from bevel.tools.accuracy.evaluate import Runner, Sample
from bevel.tools.accuracy.metrics.meters import Judging, Meters
from bevel.tools.accuracy.metrics.metric import Metric
from bevel.tools.accuracy.outputs import Described, with_scores
from bevel.tools.accuracy.quality import Totals, answers_of
from bevel.tools.accuracy.stepper import Stepper

Array = NDArray[Any]
Samples = Dataset | Sequence[Sample]

KEPT = 64 * 1024 * 1024


@dataclass(frozen=True)
class Score:
    """sqnr_db: of the worst output or part, infinite where nothing differs. What follows counts samples with labels:
    `right` answers of the float model and of this one, those it `lost`, and those it `gained`. figures: of the float
    model and of this one, by another `metric`."""

    sqnr_db: float
    labelled: int = 0
    right_float: int = 0
    right: int = 0
    lost: int = 0
    gained: int = 0
    metric: Metric | None = None
    figures: tuple[float, float] = (0.0, 0.0)

    @property
    def accuracy(self) -> float:
        return self.right / self.labelled if self.metric is None else self.figures[1]

    @property
    def drop(self) -> float:
        """The fraction of samples by which fewer answers are right than the float model's: a paired count. The loss of
        another metric."""
        if self.metric is not None:
            return self.metric.loss(*self.figures)
        return (self.right_float - self.right) / self.labelled


@dataclass(frozen=True)
class Reference:
    """Samples with the float model's outputs for them, what these are, and if there are class labels that fit one of
    them, the labels and its name. judging: by what else they are judged; the samples are then all of a data set."""

    samples: Samples
    outputs: Iterable[dict[str, Array]]
    described: Mapping[str, Described] = field(default_factory=dict)
    labels: Array | None = field(default=None)
    labelled: str = ""
    judging: Judging = field(default_factory=Judging)

    def meters(self) -> Meters | None:
        """For the float model and another."""
        return self.judging.meters(self.samples, 2) if isinstance(self.samples, Dataset) else None

    def float_figure(self) -> float:
        """The float model's own, by the metric."""
        return score(self, self.outputs).figures[0]

    def score(self, model: onnx.ModelProto, ports: Sequence[Port] = (), integer: bool = False) -> Score:
        """Of the quantized model, of whose class numbers the scores count, or of the integer one as it is, whose edges
        `ports` describe."""
        if integer:
            return score(self, runs_of(model, self.samples, evaluate.runner(model, ports, optimized=True)))
        scored = evaluate.dequantize_weights(with_scores(model))
        return score(self, runs_of(scored, self.samples, evaluate.runner(scored)))


@dataclass(frozen=True)
class Reruns:
    """What a model makes of samples, computed anew in each walk: `results`, each run from what the one before left of
    `states`, but where a sequence begins."""

    model: Runner
    samples: Samples
    states: Mapping[str, str]
    results: Sequence[str]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        stepper = Stepper(self.model, self.states, self.results)
        for run, sample in enumerate(self.samples):
            yield stepper.run(sample, not isinstance(self.samples, Dataset) or self.samples.begins(run))


def runs_of(model: onnx.ModelProto, samples: Samples, opened: Runner) -> Reruns:
    """Of a data set, a model goes on from its own states, as it will on the device; samples that were picked from one
    have the float model's, and what is made of states counts."""
    if isinstance(samples, Dataset):
        return Reruns(opened, samples, states_of(model), results_of(model))
    return Reruns(opened, samples, {}, [value.name for value in model.graph.output])


def reference(
    model: onnx.ModelProto,
    samples: Samples,
    described: Mapping[str, Described] | None = None,
    labels: Array | None = None,
    judging: Judging | None = None,
) -> Reference:
    """`model` is the float one. labels: of all samples, kept if they are class indices for one of its outputs."""
    known, found = dict(described or {}), kept(runs_of(model, samples, evaluate.runner(model)))
    totals = Totals(known)
    for one in found:
        totals.add([one, one], labels)
    fitting, by = totals.labelled, judging or Judging()
    if fitting is None:
        return Reference(samples, found, known, judging=by)
    return Reference(samples, found, known, labels, fitting.described.name, by)


def kept(runs: Reruns) -> Iterable[dict[str, Array]]:
    """At once, unless they take more than KEPT bytes."""
    first = next(iter(runs), {})
    return runs if sum(one.nbytes for one in first.values()) * len(runs.samples) > KEPT else tuple(runs)


def score(reference: Reference, found: Iterable[dict[str, Array]]) -> Score:
    """Of `found`, the outputs of another model for the same samples."""
    totals = Totals(reference.described)
    answers: list[tuple[Array, Array]] = []
    name, meters = reference.labelled, reference.meters()
    samples: Iterable[Sample] = reference.samples if meters is not None else repeat({})
    pairs = zip(reference.outputs, found, strict=True)
    for sample, (wanted, outputs) in zip(samples, pairs, strict=meters is not None):
        totals.add([wanted, outputs], None)
        if meters is not None:
            meters.add(sample, [wanted, outputs])
        if reference.labels is not None:
            what = totals.each[name].described
            before, after = answers_of(wanted[name], what), answers_of(outputs[name], what)
            assert before is not None and after is not None, "labels fit an output that has answers"
            answers.append((before, after))
    decibels = totals.sqnr_db
    power = float("inf") if decibels is None else decibels
    if meters is not None and meters.each:
        exact, figure = meters.values()
        return Score(power, metric=reference.judging.metric, figures=(exact, figure))
    if reference.labels is None:
        return Score(power)
    rows = sum(len(one) for one, _ in answers)
    right = np.concatenate([one for one, _ in answers]) == reference.labels[:rows]
    still = np.concatenate([one for _, one in answers]) == reference.labels[:rows]
    lost, gained = int(np.sum(right & ~still)), int(np.sum(still & ~right))
    return Score(power, rows, int(right.sum()), int(still.sum()), lost, gained)
