"""What an assignment really does: its model on samples, beside the float model on the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.backends.program.program import Port
from bevel.tools.accuracy import evaluate
from bevel.tools.accuracy.evaluate import Runner, Sample
from bevel.tools.accuracy.outputs import Described, with_scores
from bevel.tools.accuracy.quality import Totals, answers_of

Array = NDArray[Any]


@dataclass(frozen=True)
class Score:
    """sqnr_db: of the worst output or part, infinite where nothing differs. The rest counts samples with labels:
    `right` answers of the float model and of this one, those it `lost`, and those it `gained`."""

    sqnr_db: float
    labelled: int = 0
    right_float: int = 0
    right: int = 0
    lost: int = 0
    gained: int = 0

    @property
    def accuracy(self) -> float:
        return self.right / self.labelled

    @property
    def drop(self) -> float:
        """The fraction of samples by which fewer answers are right than the float model's: a paired count."""
        return (self.right_float - self.right) / self.labelled

    @property
    def error(self) -> float:
        """The standard error of `drop`: of a sum of +1 and -1 on the samples that changed (McNemar 1947)."""
        changed = self.lost + self.gained - (self.lost - self.gained) ** 2 / self.labelled
        return float(np.sqrt(changed)) / self.labelled


@dataclass(frozen=True)
class Reference:
    """Samples with the float model's outputs for them, what these are, and if there are class labels that fit one of
    them, the labels and its name."""

    samples: tuple[Sample, ...]
    outputs: tuple[dict[str, Array], ...]
    described: Mapping[str, Described] = field(default_factory=dict)
    labels: Array | None = field(default=None)
    labelled: str = ""

    def score(self, model: onnx.ModelProto, ports: Sequence[Port] = (), integer: bool = False) -> Score:
        """Of the quantized model, of whose class numbers the scores count, or of the integer one as it is, whose edges
        `ports` describe."""
        opened: Runner = (
            evaluate.runner(model, ports, optimized=True)
            if integer
            else evaluate.runner(evaluate.dequantize_weights(with_scores(model)))
        )
        return score(self, [opened.run(sample) for sample in self.samples])


def reference(
    model: onnx.ModelProto,
    samples: Iterable[Sample],
    described: Mapping[str, Described] | None = None,
    labels: Array | None = None,
) -> Reference:
    """`model` is the float one. labels: of all samples, kept if they are class indices for one of its outputs."""
    exact = evaluate.runner(model)
    kept, known = tuple(samples), dict(described or {})
    outputs = tuple(exact.run(sample) for sample in kept)
    totals = Totals(known)
    for one in outputs:
        totals.add([one, one], labels)
    fitting = totals.labelled
    if fitting is None:
        return Reference(kept, outputs, known)
    return Reference(kept, outputs, known, labels, fitting.described.name)


def score(reference: Reference, found: Iterable[dict[str, Array]]) -> Score:
    """Of `found`, the outputs of another model for the same samples."""
    totals = Totals(reference.described)
    answers: list[tuple[Array, Array]] = []
    name = reference.labelled
    for wanted, outputs in zip(reference.outputs, found, strict=True):
        totals.add([wanted, outputs], None)
        if reference.labels is not None:
            what = totals.each[name].described
            before, after = answers_of(wanted[name], what), answers_of(outputs[name], what)
            assert before is not None and after is not None, "labels fit an output that has answers"
            answers.append((before, after))
    decibels = totals.sqnr_db
    power = float("inf") if decibels is None else decibels
    if reference.labels is None:
        return Score(power)
    rows = sum(len(one) for one, _ in answers)
    right = np.concatenate([one for one, _ in answers]) == reference.labels[:rows]
    still = np.concatenate([one for _, one in answers]) == reference.labels[:rows]
    lost, gained = int(np.sum(right & ~still)), int(np.sum(still & ~right))
    return Score(power, rows, int(right.sum()), int(still.sum()), lost, gained)
