"""The headline is the worst output and the worst part, whatever the large ones hide; numbers small enough to check."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bevel.tools.accuracy.outputs import Described
from bevel.tools.accuracy.quality import LEAST_DB, Totals, class_labels, sqnr_db
from bevel.tools.report.answers import Answers, share_interval

Arrays = dict[str, np.ndarray]


def totals(
    exact: Arrays, judged: Arrays, labels: np.ndarray | None = None, described: Described | None = None
) -> Totals:
    found = Totals({} if described is None else {described.name: described})
    found.add([exact, exact, judged], labels)
    return found


def column(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_sqnr_is_the_power_ratio_in_decibels() -> None:
    assert sqnr_db(1000.0, 1.0) == pytest.approx(30.0)
    assert sqnr_db(1.0, 0.0) is None and sqnr_db(0.0, 0.0) is None
    assert sqnr_db(0.0, 1.0) == sqnr_db(1.0, math.inf) == LEAST_DB


def test_answers_labels_and_errors_are_counted() -> None:
    exact, rounded = np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([[3.0, 0.0], [4.0, 0.0]])
    found = totals({"p": exact}, {"p": rounded}, np.array([0, 1])).accuracy()
    assert (found.samples, found.top1_float, found.top1_quantized, found.top1_integer) == (2, 1.0, 1.0, 0.5)
    assert (found.agreement, found.labels) == (0.5, "p")
    assert found.sqnr_db == pytest.approx(10 * np.log10(25 / 32)) and found.quantized_sqnr_db is None


def test_answers_are_compared_sample_by_sample() -> None:
    """Right in both, lost, gained, the same wrong one, another wrong one: of labels 0."""
    before, after = (np.eye(3)[list(answers)] for answers in ((0, 0, 1, 1, 1), (0, 1, 0, 1, 2)))
    found = totals({"p": before}, {"p": after}, np.zeros(5, np.int64)).accuracy()
    assert found.answers == Answers.of(labelled=5, lost=1, gained=1, changed=1)
    assert found.agreement_interval == share_interval(0.4, 5)


def test_samples_of_several_answers_have_no_interval() -> None:
    numbers = np.arange(6).reshape(2, 3)
    found = totals({"p": numbers}, {"p": numbers}, described=Described("p", "ids", "p")).accuracy()
    assert found.agreement == 1.0 and found.agreement_interval is None and found.answers is None


def test_labels_belong_to_their_samples_over_several_runs() -> None:
    found = Totals()
    for answer in (1, 0):
        output = {"p": np.eye(2, dtype=np.float32)[[answer]]}
        found.add([output] * 3, np.array([1, 0]))
    assert found.accuracy().top1_float == 1.0


def test_a_dead_output_is_the_headline_whatever_the_others_say() -> None:
    exact = {"large": column(1000, -2000, 3000, 500), "dead": column(1, -2, 3, 0.5)}
    judged = {"large": column(1000, -2000, 3001, 500), "dead": column(0, 0, 0, 0)}
    found = totals(exact, judged)
    assert found.sqnr_db == 0.0
    large, dead = found.outputs()
    assert large.sqnr_db is not None and large.sqnr_db > 60
    assert (dead.sqnr_db, dead.values, dead.float_values) == (0.0, 1, 4)


BOXES = Described("y", "numbers", "y", ("boxes", "scores"), np.array([[0, 0, 1, 1]]))


def test_unlike_parts_are_told_apart() -> None:
    found = totals({"y": column(300, 200, 0.5, 0.25)}, {"y": column(301, 200, 0.0, 0.0)}, None, BOXES)
    assert [(one.name, one.part) for one in found.outputs()] == [("y", "boxes"), ("y", "scores")]
    assert found.accuracy().sqnr_db == 0.0


def test_like_parts_are_one_output() -> None:
    found = totals({"y": column(3, 2, 5, 2.5)}, {"y": column(3, 2, 5, 3)}, None, BOXES)
    assert [one.part for one in found.outputs()] == [None]


def test_infinity_and_nan_are_counted_and_are_nothing_left() -> None:
    (one,) = totals({"y": column(1, 2, 3, 4)}, {"y": column(np.inf, np.nan, 3, 4)}).outputs()
    assert (one.nonfinite, one.sqnr_db) == (2, LEAST_DB)


def test_where_the_float_model_is_infinite_nothing_is_judged() -> None:
    (one,) = totals({"y": column(np.inf, np.nan, 3, 4)}, {"y": column(np.inf, 5, 3, 4)}).outputs()
    assert (one.nonfinite, one.sqnr_db) == (0, None)


def test_class_numbers_have_answers_and_no_sqnr() -> None:
    ids = Described("y", "ids", "y")
    exact, judged = np.array([[4], [2], [0], [1]]), np.array([[4], [2], [0], [3]])
    found = totals({"y": exact}, {"y": judged}, np.array([4, 2, 1, 1]), ids)
    told = found.accuracy()
    assert (told.top1_float, told.top1_integer, told.agreement, told.sqnr_db) == (0.75, 0.5, 0.75, None)
    assert found.outputs()[0].values is None


def test_numbers_without_labels_have_no_answers() -> None:
    output = {"landmarks": column(3, 4, 5), "one": np.ones((1, 1)), "image": np.ones((1, 2, 2))}
    for labels in (None, np.array([[0.5, 1.5, 2.5]]), np.array([7])):
        told = totals(output, output, labels).accuracy()
        assert told.agreement is None and told.top1_float is None and told.samples == 1


def test_scores_have_answers_without_labels() -> None:
    exact, judged = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[0.8, 0.2], [0.4, 0.6]])
    assert totals({"y": exact}, {"y": judged}, None, Described("y", "scores", "y")).accuracy().agreement == 0.5


def test_labels_belong_to_the_output_that_the_float_model_answers_best() -> None:
    labels = np.array([0, 1])
    outputs = {"boxes": np.array([[1.0, 5, 5, 9], [1, 5, 5, 9]]), "classes": np.array([[2.0, 1, 0], [1, 2, 0]])}
    told = totals(outputs, outputs, labels).accuracy()
    assert (told.labels, told.top1_float) == ("classes", 1.0)


def test_integers_that_are_no_classes_are_told_of() -> None:
    output = {"y": np.array([[0.1, 0.9], [0.8, 0.2]])}
    told = totals(output, output, np.array([1, 2])).accuracy()
    assert told.labels_unused is not None and told.labels_unused.startswith(
        "`y` holds 1 to 2, and no output has classes"
    )
    for labels in (np.array([1, 0]), np.array([0.5, 1.5]), None):
        assert totals(output, output, labels).accuracy().labels_unused is None


@pytest.mark.parametrize(
    "labels", [None, np.array([0, 7]), np.array([0.5, 1]), np.array([[0], [1]]), np.array([-1, 0])]
)
def test_labels_that_are_no_class_index_are_not_used(labels: np.ndarray | None) -> None:
    assert class_labels(labels, classes=3) is None
