"""How near a model's outputs are to the float model's: running sums over the samples of one evaluation.

SQNR is 10 log10(sum ref^2 / sum err^2), of each output, and of each part of an output whose parts are unlike: their RMS
values differ by UNLIKE or more, so that the large part would hide a small one that is dead. The headline is the worst
of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.tools.accuracy.outputs import Described, plain
from bevel.tools.report.answers import Answers, share_interval
from bevel.tools.report.report import Accuracy, OutputFigures

Array = NDArray[Any]

LEAST_DB = -200.0  # stands for infinity or NaN in place of numbers, and for noise where the float model answers 0
UNLIKE = 4.0  # in one format for both, the smaller then has two bits fewer than the larger
FEW = 4  # distinct values: fewer are hardly more than a switch


def sqnr_db(signal: float, noise: float) -> float | None:
    """10 log10(signal / noise), at least LEAST_DB; None where there is no error to speak of."""
    if noise == 0:
        return None
    if signal == 0 or not math.isfinite(noise):
        return LEAST_DB
    return max(10 * (math.log10(signal) - math.log10(noise)), LEAST_DB)


def worst(decibels: Sequence[float | None]) -> float | None:
    known = [one for one in decibels if one is not None]
    return min(known) if known else None


@dataclass
class Powers:
    """Sums over the elements of one output or part, in float64."""

    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    quantized_noise: float = 0.0
    nonfinite: int = 0  # elements that are finite in the float model alone
    values: set[float] = field(default_factory=set)  # of the judged model, at most FEW
    float_values: set[float] = field(default_factory=set)

    def add(self, exact: Array, quantized: Array, judged: Array) -> None:
        """Elements that are infinite or NaN in the float model have no right answer and do not count."""
        known = np.isfinite(exact)
        exact, quantized, judged = (one[known].astype(np.float64) for one in (exact, quantized, judged))
        finite = np.isfinite(judged)
        self.count += exact.size
        self.nonfinite += int(np.sum(~finite))
        self.signal += float(np.sum(np.square(exact)))
        self.noise += power(judged - exact)
        self.quantized_noise += power(quantized - exact)
        collect(self.values, judged[finite])
        collect(self.float_values, exact)

    @property
    def db(self) -> float | None:
        return sqnr_db(self.signal, self.noise)

    @property
    def broken(self) -> bool:
        return self.nonfinite > 0 or len(self.values) < min(FEW, len(self.float_values))

    @property
    def rms(self) -> float:
        return math.sqrt(self.signal / self.count) if self.count else 0.0


def power(error: Array) -> float:
    """The sum of squares; infinite where one is no number."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.sum(np.square(error)))
    return total if math.isfinite(total) else math.inf


def collect(values: set[float], found: Array) -> None:
    """Add distinct numbers of `found` to `values` until these are FEW."""
    if len(values) < FEW:
        values.update(np.unique(found)[:FEW].tolist())
        while len(values) > FEW:
            values.pop()


@dataclass
class OutputTotals:
    """`whole`: of all elements; `parts`: of those that come from each part. For ids `same` counts elements, for scores
    and for [batch, classes] samples; `right`: those of the float, quantized and judged model that are the label;
    `lost`, `gained`, `changed`: as `Answers` has them."""

    described: Described
    whole: Powers = field(default_factory=Powers)
    parts: list[Powers] = field(default_factory=list)
    answered: int = 0
    same: int = 0
    labelled: int = 0
    right: tuple[int, int, int] = (0, 0, 0)
    lost: int = 0
    gained: int = 0
    changed: int = 0

    def add(self, values: Sequence[Array], labels: Array | None) -> None:
        """The float, quantized and judged model's output for one run, and the labels of its samples."""
        exact, quantized, judged = values
        if self.described.kind != "ids":
            self.whole.add(exact, quantized, judged)
        if self.described.where is not None:
            self.parts = self.parts or [Powers() for _ in self.described.parts]
            for index, part in enumerate(self.parts):
                chosen = self.described.where == index
                part.add(exact[chosen], quantized[chosen], judged[chosen])
        answers = [answers_of(one, self.described) for one in values]
        first, last = answers[0], answers[-1]
        if first is None or last is None:
            return
        self.answered += first.size
        self.same += int(np.sum(first == last))
        if labels is not None and first.shape == labels.shape:
            counts = (count + int(np.sum(one == labels)) for count, one in zip(self.right, answers, strict=True))
            self.right = (next(counts), next(counts), next(counts))
            self.labelled += first.size
            before, after = first == labels, last == labels
            self.lost += int(np.sum(before & ~after))
            self.gained += int(np.sum(after & ~before))
            self.changed += int(np.sum(~before & ~after & (first != last)))

    def outputs(self, answers: bool) -> list[OutputFigures]:
        """For the report: the parts, where they are unlike or one is broken, or the whole. `answers`: whether it has
        some."""
        if self.described.kind == "ids":
            return [OutputFigures(self.described.name, None, None, None, self.agreement, None, None, 0)]
        if (parts := self.parts) and (unlike(parts) or any(one.broken for one in parts)):
            named = zip(self.described.parts, parts, strict=True)
            return [self.output(one, name, None) for name, one in named if one.count]
        return [self.output(self.whole, None, self.agreement if answers else None)]

    def output(self, powers: Powers, part: str | None, agreement: float | None) -> OutputFigures:
        return OutputFigures(
            self.described.name,
            part,
            powers.db,
            sqnr_db(powers.signal, powers.quantized_noise),
            agreement,
            len(powers.values),
            len(powers.float_values),
            powers.nonfinite,
        )

    @property
    def agreement(self) -> float | None:
        return self.same / self.answered if self.answered else None

    @property
    def answers(self) -> Answers | None:
        return Answers.of(self.labelled, self.lost, self.gained, self.changed) if self.labelled else None

    def top1(self, model: int) -> float | None:
        return self.right[model] / self.labelled if self.labelled else None


def unlike(parts: Sequence[Powers]) -> bool:
    levels = [one.rms for one in parts if one.rms > 0]
    return len(levels) > 1 and max(levels) >= UNLIKE * min(levels)


def answers_of(output: Array, described: Described) -> Array | None:
    """The classes that an output says: [batch], or for ids that are not one a sample, each of them. None if none."""
    if described.kind == "ids":
        return output.reshape(len(output)) if output.ndim == 2 and output.shape[1] == 1 else output
    if not has_classes(output):
        return None
    found: Array = np.argmax(output, axis=-1)
    return found


def has_classes(output: Array) -> bool:
    """Whether an output is [batch, classes]: only there the place of the largest may be an answer."""
    return output.ndim == 2 and output.shape[1] > 1


def class_labels(labels: Array | None, classes: int | None) -> Array | None:
    """`labels` [samples] if they are class indices, below `classes` where that is known, else None."""
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0:
        return None
    return labels if labels.min() >= 0 and (classes is None or labels.max() < classes) else None


@dataclass
class Totals:
    """Running sums over the samples of one evaluation. `described`: what the outputs are, in their order."""

    described: Mapping[str, Described] = field(default_factory=dict)
    samples: int = 0
    each: dict[str, OutputTotals] = field(default_factory=dict)
    labels: Array | None = None

    def add(self, outputs: Sequence[Mapping[str, Array]], labels: Array | None) -> None:
        """Outputs of the float, (quantized) and judged model for the next run; `labels` are those of all samples."""
        exact, quantized, judged = outputs[0], outputs[len(outputs) // 2], outputs[-1]
        self.labels = labels
        batch = 1
        for place, (name, values) in enumerate(exact.items()):
            one = self.each.setdefault(name, OutputTotals(self.described.get(name, plain(name))))
            rows = len(values) if values.ndim else 1
            batch = rows if place == 0 else batch
            classes = values.shape[1] if one.described.kind != "ids" and values.ndim == 2 else None
            known = class_labels(labels, classes)
            now = None if known is None else known[self.samples : self.samples + rows]
            one.add([values, quantized[name], judged[name]], now)
        self.samples += batch

    @property
    def labelled(self) -> OutputTotals | None:
        """The output that the labels belong to: the one that the float model answers best, the first of equals."""
        fitting = [one for one in self.each.values() if one.labelled]
        return max(fitting, key=lambda one: one.right[0] / one.labelled) if fitting else None

    def outputs(self) -> tuple[OutputFigures, ...]:
        labelled = self.labelled
        return tuple(
            output
            for one in self.each.values()
            for output in one.outputs(answers=one.described.kind == "scores" or one is labelled)
        )

    @property
    def sqnr_db(self) -> float | None:
        """The worst of all outputs and parts."""
        return worst([one.sqnr_db for one in self.outputs()])

    def accuracy(self) -> Accuracy:
        one, outputs = self.labelled, self.outputs()
        shares = [output.agreement for output in outputs if output.agreement is not None]
        single = all(one.answered in (0, self.samples) for one in self.each.values())
        return Accuracy(
            samples=self.samples,
            top1_float=None if one is None else one.top1(0),
            top1_quantized=None if one is None else one.top1(1),
            top1_integer=None if one is None else one.top1(2),
            sqnr_db=worst([output.sqnr_db for output in outputs]),
            agreement=min(shares) if shares else None,
            quantized_sqnr_db=worst([output.quantized_sqnr_db for output in outputs]),
            labels=None if one is None else one.described.name,
            labels_unused=None if one is not None else self.unused,
            answers=None if one is None else one.answers,
            agreement_interval=share_interval(min(shares), self.samples) if shares and single else None,
        )

    @property
    def unused(self) -> str | None:
        """Why integer labels, of which there were some, are no classes of an output."""
        if self.labels is None or self.labels.ndim != 1 or self.labels.dtype.kind not in "iu" or not self.labels.size:
            return None
        found = f"`y` holds {self.labels.min()} to {self.labels.max()}"
        return (
            f"{found}, and no output has classes numbered so: give class numbers from 0 on, or floats for a regression"
        )
