"""Figures of metrics on numbers small enough to check by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.auc import AucMeter, area, scores
from bevel.tools.accuracy.metrics.metric import AUC, PERPLEXITY, TOP1, Meter, Run
from bevel.tools.accuracy.metrics.mse import MseMeter
from bevel.tools.accuracy.metrics.perplexity import ELEMENTS, PerplexityMeter, entropy

Array = np.ndarray[Any, Any]


def run(outputs: Array, inputs: dict[str, Array] | None = None, labels: Any = None, exact: Array | None = None) -> Run:
    y = None if labels is None else np.asarray(labels)
    return Run(inputs or {}, {"out": outputs}, {"out": outputs if exact is None else exact}, y, len(outputs))


def value(meter: Meter, *runs: Run) -> float:
    for one in runs:
        meter.add(one)
    return meter.value()


def guesses(*ids: int, certainty: float = 50.0) -> Array:
    """Logits [1, places, 5] that say each of `ids`."""
    return certainty * np.eye(5, dtype=np.float32)[None, list(ids)]


IDS = np.array([[3, 1, 4, 0]])


def test_logits_that_know_the_next_id_have_perplexity_one_and_those_that_know_nothing_the_vocabulary() -> None:
    knowing = run(guesses(1, 4, 0, 2), {"input_ids": IDS})
    assert value(PerplexityMeter(), knowing) == pytest.approx(1.0)
    assert value(PerplexityMeter(), run(np.zeros((1, 4, 5), np.float32), {"input_ids": IDS})) == pytest.approx(5.0)


def test_perplexity_is_over_all_tokens_and_not_a_mean_of_perplexities() -> None:
    half = np.log(np.array([[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]))
    eighth = np.log(np.array([[[0.125, 0.875], [0.125, 0.875]]]))
    first = run(half, {"ids": np.array([[0, 0, 0]])})
    second = run(eighth, {"ids": np.array([[0, 0]])})
    assert value(PerplexityMeter(), first, second) == pytest.approx(2 ** ((1 + 1 + 3) / 3))


def test_labels_are_the_next_ids_unless_they_repeat_the_input() -> None:
    logits = guesses(1, 4, 0, 2)
    for labels in ([[1, 4, 0, 2]], [[3, 1, 4, 0]], [[-100, 1, -100, 0]]):
        assert value(PerplexityMeter(), run(logits, {"input_ids": IDS}, labels)) == pytest.approx(1.0)
    meter = PerplexityMeter()
    value(meter, run(logits, {"input_ids": IDS}, [[1, 4, 0, -1]]))
    assert meter.told.endswith("of 3 next tokens, `y`")


def test_one_window_whose_labels_do_not_repeat_the_input_decides_for_all() -> None:
    runs = [
        run(guesses(1, 4, 0, 2), {"input_ids": IDS}, [[1, 4, 0, 2]]),
        run(guesses(3, 1, 4, 0), {"input_ids": IDS}, IDS),
    ]
    assert value(PerplexityMeter(), *runs) == pytest.approx(1.0)


def test_padding_that_a_mask_names_does_not_count() -> None:
    logits = guesses(1, 4, 2, 2)
    given = {"input_ids": IDS, "attention_mask": np.array([[1, 1, 1, 0]])}
    assert value(PerplexityMeter(), run(logits, given)) == pytest.approx(1.0)
    assert value(PerplexityMeter(), run(logits, {"input_ids": IDS})) > 1e6


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (run(np.zeros((1, 5))), "logits are [batch, sequence, vocabulary]"),
        (run(np.zeros((1, 4, 5))), "no input of integers is [batch, sequence]"),
        (run(np.zeros((1, 4, 5)), {"x": np.zeros((1, 4), np.float32)}), "no input of integers"),
        (run(np.zeros((1, 4, 5)), {"input_ids": IDS + 3}), "id 7 is beyond a vocabulary of 5"),
        (run(np.zeros((1, 4, 5)), {"input_ids": IDS}, [1]), "`y` is int64 [1] for one run"),
        (run(np.zeros((1, 1, 5)), {"input_ids": IDS[:, :1]}), "no id has logits before it"),
    ],
)
def test_what_has_no_perplexity_is_refused(one: Run, message: str) -> None:
    with pytest.raises(UserError) as error:
        value(PerplexityMeter(), one)
    assert message in str(error.value)


def test_logits_that_are_no_numbers_have_an_infinite_perplexity() -> None:
    assert value(PerplexityMeter(), run(np.full((1, 4, 5), np.nan), {"input_ids": IDS})) == math.inf


def test_entropy_in_pieces_is_entropy() -> None:
    rng = np.random.default_rng(0)
    logits, ids = rng.standard_normal((5, ELEMENTS // 2)), np.array([0, 1, 2, 3, 4])
    exact = [math.log(np.exp(row).sum()) - row[one] for row, one in zip(logits, ids, strict=True)]
    assert entropy(logits, ids) == pytest.approx(sum(exact))


def test_area_counts_pairs_and_ties_half() -> None:
    rng = np.random.default_rng(0)
    found, labels = rng.integers(0, 5, 40).astype(float), rng.integers(0, 2, 40).astype(bool)
    pairs = [(a > b) + (a == b) / 2 for a in found[labels] for b in found[~labels]]
    assert area(found, labels) == pytest.approx(float(np.mean(pairs)))


def test_a_score_is_the_error_the_value_the_difference_or_the_largest() -> None:
    window = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    assert scores({"in": window}, {"out": window + np.array([[0, 2], [1, 1]])}, 2)[1].tolist() == [2.0, 1.0]
    assert scores({}, {"out": np.array([[0.5], [0.25]])}, 2)[1].tolist() == [0.5, 0.25]
    assert scores({}, {"out": np.array([[0.25, 0.75]])}, 1)[1].tolist() == [0.5]
    assert scores({"in": np.zeros((3, 7))}, {"out": np.array([0.1, 0.9, 0.3]), "state": np.ones(3)}, 1)[1].tolist() == [
        0.9
    ]


def test_windows_of_a_recording_share_a_label_and_their_mean_error() -> None:
    meter = AucMeter(np.array([0, 1]), 2)
    zeros = np.zeros((1, 2), np.float32)
    for error in (0.0, 3.0, 2.0, 2.0):  # means 4.5 and 4, largest 9 and 4
        meter.add(Run({"in": zeros}, {"out": zeros + error}, {}, None, 1))
    assert meter.value() == 0.0 and "the mean of 2 samples for each `y`" in meter.told


@pytest.mark.parametrize("labels", [None, np.array([0, 2]), np.array([1, 1]), np.zeros((2, 2))])
def test_labels_that_are_not_both_0_and_1_have_no_area(labels: Array | None) -> None:
    with pytest.raises(UserError, match="--metric auc"):
        AucMeter(labels, 1)


def test_mse_is_against_labels_or_the_float_model() -> None:
    assert value(MseMeter(), run(np.array([[1.0, 3.0]]), labels=[[1.0, 1.0]])) == 2.0
    assert value(MseMeter(), run(np.array([[1.0, 3.0]]), exact=np.array([[0.0, 3.0]]))) == 0.5
    with pytest.raises(UserError, match=r"`y` is int64 \[1\] for one run, output out is float64 \[1, 2\]"):
        value(MseMeter(), run(np.array([[1.0, 3.0]]), labels=[1]))


def test_a_loss_is_in_points_of_a_share_and_in_percent_of_other_figures() -> None:
    assert TOP1.loss(0.9, 0.89) == pytest.approx(0.01) and AUC.loss(0.9, 0.95) == pytest.approx(-0.05)
    assert PERPLEXITY.loss(5.0, 5.5) == pytest.approx(0.1) and PERPLEXITY.loss(0.0, 1.0) == math.inf
