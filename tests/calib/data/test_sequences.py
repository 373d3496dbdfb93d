"""Steps in sequences: where each begins, what state it is in, and what files are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.calib.data.dataset import InputType
from bevel.calib.data.sequences import open_sequences
from bevel.calib.errors import UserError

FLOAT = np.dtype(np.float32)
INPUTS = {"x": InputType((1, 2), FLOAT)}
STATES = {"h": InputType((1, 2), FLOAT)}
VALUES = np.arange(24, dtype=np.float32)


def add(sample: Mapping[str, Any]) -> dict[str, Any]:
    """A state that is the sum of all steps."""
    return {"h": sample["h"] + sample["x"]}


def opened(arrays: dict[str, Any], limit: int | None = None, inputs: Mapping[str, InputType] = INPUTS) -> Any:
    return open_sequences(arrays, inputs, STATES, limit, add)


def starts(data: Any) -> list[int]:
    return [run for run in range(len(data)) if data.begins(run)]


@pytest.mark.parametrize("shape", [(3, 4, 2), (3, 4, 1, 2)])
def test_each_row_is_a_sequence(shape: tuple[int, ...]) -> None:
    data = opened({"x": VALUES.reshape(shape)})
    assert len(data) == 12 and starts(data) == [0, 4, 8]
    samples = list(data)
    for run, sample in enumerate(samples):
        np.testing.assert_array_equal(sample["x"], VALUES.reshape(12, 1, 2)[run])
        before = VALUES.reshape(12, 1, 2)[run // 4 * 4 : run].sum(0)
        np.testing.assert_array_equal(sample["h"], before)


@pytest.mark.parametrize("shape", [(12, 2), (12, 1, 2)])
def test_samples_in_a_row_are_one_sequence(shape: tuple[int, ...]) -> None:
    data = opened({"x": VALUES.reshape(shape)})
    assert len(data) == 12 and starts(data) == [0]
    assert list(data)[-1]["h"].tolist() == [[110, 121]]


def test_a_reset_begins_anew() -> None:
    marks = np.zeros(12, bool)
    marks[[5, 6]] = True
    data = opened({"x": VALUES.reshape(12, 2), "reset": marks})
    assert starts(data) == [0, 5, 6]
    assert list(data)[5]["h"].tolist() == [[0, 0]] and list(data)[4]["h"].any()


def test_files_of_a_folder_follow_each_other(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=VALUES[:8].reshape(4, 2), reset=np.array([0, 0, 1, 0]))
    np.savez(tmp_path / "b.npz", x=VALUES[8:].reshape(8, 2), reset=np.eye(8, dtype=bool)[3])
    assert starts(open_sequences(tmp_path, INPUTS, STATES, None, add)) == [0, 2, 7]


def test_a_file_of_one_array_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", VALUES.reshape(3, 4, 2))
    assert starts(open_sequences(tmp_path / "x.npy", INPUTS, STATES)) == [0, 4, 8]


def test_every_walk_is_the_same_and_nothing_is_left_from_the_one_before() -> None:
    data = opened({"x": VALUES.reshape(3, 4, 2)})
    first, second = list(data), list(data)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["h"], other["h"])


def test_a_limit_counts_steps() -> None:
    data = opened({"x": VALUES.reshape(3, 4, 2)}, 6)
    assert len(data) == 6 and starts(data) == [0, 4]


def test_states_that_are_given_are_zeros_and_each_step_is_a_sequence() -> None:
    data = opened({"x": VALUES.reshape(12, 1, 2), "h": np.zeros((12, 1, 2))})
    assert starts(data) == list(range(12)) and not any(sample["h"].any() for sample in data)


def test_states_that_sequences_begin_with_are_zeros() -> None:
    assert starts(opened({"x": VALUES.reshape(3, 4, 2), "h": np.zeros((3, 1, 2))})) == [0, 4, 8]


def test_labels_are_those_of_steps_or_of_whole_sequences() -> None:
    arrays = {"x": VALUES.reshape(3, 4, 2)}
    steps = opened(arrays | {"y": np.arange(12).reshape(3, 4)})
    whole = opened(arrays | {"y": np.array([7, 8, 9])})
    assert steps.labels.tolist() == list(range(12)) and whole.labels.tolist() == [7] * 4 + [8] * 4 + [9] * 4


def test_a_label_of_a_sequence_stays_one_where_metrics_want_it() -> None:
    arrays = {"x": VALUES.reshape(3, 4, 2), "y": np.array([7, 8, 9])}
    data = open_sequences(arrays, INPUTS, STATES, 11, add, grouped=True)
    assert (len(data), data.group) == (8, 4) and data.labels is not None and data.labels.tolist() == [7, 8]


def test_a_batch_takes_rows_together() -> None:
    data = opened({"x": VALUES.reshape(12, 2)}, None, {"x": InputType((3, 2), FLOAT)})
    assert len(data) == 4 and starts(data) == [0]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": VALUES}, "arrays 'z'; the model takes 'x', and keeps 'h' itself"),
        ({"x": VALUES.reshape(12, 2), "h": np.ones((12, 1, 2))}, "'h' is state, which begins with zeros"),
        ({"x": VALUES.reshape(12, 2), "reset": np.zeros(11, bool)}, "'reset' is bool [11]; bool [12] would fit"),
        ({"x": VALUES.reshape(12, 2), "reset": np.zeros(12)}, "'reset' is float64 [12]"),
        (
            {"x": VALUES.reshape(3, 4, 2), "reset": np.zeros(3, bool)},
            "'reset' is there, but each row of 'x' is a sequence",
        ),
        ({"x": VALUES.reshape(3, 4, 2), "y": np.arange(5)}, "'y' has 5 rows for 3 samples"),
        ({"x": VALUES.reshape(2, 3, 4)}, "the model's input takes [1, 2]"),
    ],
)
def test_other_arrays_are_refused(arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        opened(arrays)


def test_inputs_of_unlike_sequences_are_refused() -> None:
    inputs = INPUTS | {"z": InputType((1, 2), FLOAT)}
    with pytest.raises(UserError, match="different lengths: 'x' 4, 'z' none"):
        opened({"x": VALUES.reshape(3, 4, 2), "z": VALUES.reshape(12, 1, 2)}, None, inputs)
