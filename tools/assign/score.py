"""What an assignment really does: its model on samples, beside the float model on the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bevel.backends.program import Port
from bevel.tools import evaluate
from bevel.tools.evaluate import Runner, Sample

Array = NDArray[Any]


@dataclass(frozen=True)
class Score:
    """sqnr_db: over all output elements, infinite where nothing differs. The rest counts samples with labels: `right`
    answers of the float model and of this one, those it `lost`, and those it `gained`."""

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
    """Samples with the float model's outputs for them, and their labels if there are any."""

    samples: tuple[Sample, ...]
    outputs: tuple[dict[str, Array], ...]
    labels: Array | None = field(default=None)

    def score(self, model: onnx.ModelProto, ports: Sequence[Port] = (), integer: bool = False) -> Score:
        """Of the quantized model, or of the integer one, whose edges `ports` describe."""
        opened: Runner = (
            evaluate.runner(model, ports, optimized=True)
            if integer
            else evaluate.runner(evaluate.dequantize_weights(model))
        )
        return score(self.outputs, [opened.run(sample) for sample in self.samples], self.labels)


def reference(model: onnx.ModelProto, samples: Iterable[Sample], labels: Array | None = None) -> Reference:
    """`model` is the float one. labels: of all samples, kept if they are class indices for its first output."""
    exact = evaluate.runner(model)
    kept = tuple(samples)
    outputs = tuple(exact.run(sample) for sample in kept)
    first = next(iter(outputs[0].values()))
    known = evaluate.class_labels(labels, first.shape[1]) if evaluate.is_classification(first) else None
    return Reference(kept, outputs, known)


def score(exact: Sequence[dict[str, Array]], found: Iterable[dict[str, Array]], labels: Array | None) -> Score:
    """`labels`: one for each row of the first output over all runs, or None."""
    signal, noise = 0.0, 0.0
    answers: list[tuple[Array, Array]] = []
    for wanted, outputs in zip(exact, found, strict=True):
        for name, values in wanted.items():
            wide = values.astype(np.float64)
            signal += float(np.sum(np.square(wide)))
            noise += float(np.sum(np.square(wide - outputs[name])))
        first = next(iter(wanted))
        if labels is not None:
            answers.append((np.argmax(wanted[first], axis=-1), np.argmax(outputs[first], axis=-1)))
    decibels = evaluate.sqnr_db(signal, noise)
    power = float("inf") if decibels is None else decibels
    if labels is None:
        return Score(power)
    rows = sum(len(one) for one, _ in answers)
    before = np.concatenate([one for one, _ in answers]) == labels[:rows]
    after = np.concatenate([one for _, one in answers]) == labels[:rows]
    lost, gained = int(np.sum(before & ~after)), int(np.sum(after & ~before))
    return Score(power, rows, int(before.sum()), int(after.sum()), lost, gained)
