"""Perplexity of a language model: exp of the mean cross entropy (natural logarithm) of the next token.

The logits are the first output [batch, sequence, vocabulary], those at a place a guess of the id that follows it. The
ids are `y` [samples, sequence] if given, one for each place of the logits, or else the integer input [batch, sequence]
shifted by one: the id at t + 1 is what the logits at t should say, and the last place of a window says nothing. A `y`
that repeats the input, as many libraries of language models have it, is shifted in the same way.

Not counted: negative ids (-100 is customary), and ids at places where an input called attention_mask, of the same
shape, is 0. Nothing else: padding that is neither counts like text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.metric import Run

Array = NDArray[Any]

ELEMENTS = 1 << 20  # logits that are looked at together, in float64
MASK = "attention_mask"
IDS = "input_ids"  # what an exporter calls them


class PerplexityMeter:
    """Sums over the places that count: in all, and of y as it is and shifted, until it is known which was meant."""

    def __init__(self) -> None:
        self._sums, self._counts = {False: 0.0, True: 0.0}, {False: 0, True: 0}
        self._repeats, self._given = True, False

    def add(self, run: Run) -> None:
        name, logits = next(iter(run.outputs.items()))
        if logits.ndim != 3:
            raise UserError(
                f"--metric perplexity: output {name} is {list(logits.shape)}; logits are [batch, sequence, vocabulary]"
            )
        inputs = ids_in(run.inputs, logits.shape[:2])
        mask = run.inputs.get(MASK)
        mask = mask if mask is not None and mask.shape == logits.shape[:2] else None
        if run.labels is None:
            if inputs is None:
                raise UserError(
                    "--metric perplexity: no input of integers is [batch, sequence]; give the next ids as `y` in --eval"
                )
            self._add(True, logits, inputs, mask)
            return
        targets = labels_for(run.labels, logits.shape[:2])
        self._given = True
        self._repeats &= inputs is not None and bool(np.all((targets == inputs) | (targets < 0)))
        for shifted in (True, False) if self._repeats else (False,):
            self._add(shifted, logits, targets, mask)

    def _add(self, shifted: bool, logits: Array, ids: Array, mask: Array | None) -> None:
        counted = ids >= 0 if mask is None else (ids >= 0) & (mask != 0)
        if shifted:
            logits, ids, counted = logits[:, :-1], ids[:, 1:], counted[:, 1:]
        if counted.any() and ids[counted].max() >= logits.shape[-1]:
            raise UserError(
                f"--metric perplexity: id {ids[counted].max()} is beyond a vocabulary of {logits.shape[-1]}"
            )
        self._sums[shifted] += entropy(logits[counted], ids[counted])
        self._counts[shifted] += int(counted.sum())

    @property
    def _shifted(self) -> bool:
        return self._repeats or not self._given

    def value(self) -> float:
        if not self._counts[self._shifted]:
            raise UserError("--metric perplexity: no id has logits before it: windows of one token need `y` in --eval")
        mean = self._sums[self._shifted] / self._counts[self._shifted]
        return math.exp(mean) if mean < math.log(np.finfo(np.float64).max) else math.inf  # nan, too

    @property
    def told(self) -> str:
        ids = "`y`, which repeats the input, shifted by one" if self._given else "the input shifted by one"
        return f"exp of the mean cross entropy of {self._counts[self._shifted]:,} next tokens, " + (
            ids if self._shifted else "`y`"
        )


def ids_in(inputs: Mapping[str, Array], shape: tuple[int, ...]) -> Array | None:
    """The token ids among the inputs: integers of that shape, but for masks, types and positions of tokens."""
    found = {name: one for name, one in inputs.items() if one.dtype.kind in "iu" and one.shape == shape}
    others = {name: one for name, one in found.items() if not any(word in name for word in ("mask", "type", "pos"))}
    return found.get(IDS, next(iter(others.values()), None))


def labels_for(labels: Array, shape: tuple[int, ...]) -> Array:
    if labels.dtype.kind not in "iu" or labels.shape != shape:
        raise UserError(
            f"--metric perplexity: `y` is {labels.dtype} {list(labels.shape)} for one run, and ids are integers "
            f"{list(shape)}, the next one for each place"
        )
    return labels.astype(np.int64)


def entropy(logits: Array, ids: Array) -> float:
    """The sum over rows of -log softmax(logits)[id]; logits [places, vocabulary]."""
    total, together = 0.0, max(ELEMENTS // max(logits.shape[-1], 1), 1)
    for start in range(0, len(ids), together):
        rows = logits[start : start + together].astype(np.float64)
        with np.errstate(invalid="ignore"):
            rows -= rows.max(axis=1, keepdims=True)
            chosen = np.take_along_axis(rows, ids[start : start + together, None], axis=1)[:, 0]
            total += float(np.sum(np.log(np.exp(rows).sum(axis=1)) - chosen))
    return total
