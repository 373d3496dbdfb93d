"""Data files: what fits is read lazily and exactly, what does not fit is refused in one line that names it."""

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bevel.calib.data.dataset import Dataset, InputType, open_dataset, random_dataset
from bevel.calib.errors import UserError

Arrays = dict[str, np.ndarray]
HEADER_CUT = b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': ((((((("


def float_input(*shape: int) -> InputType:
    return InputType(shape, np.dtype(np.float32))


IMAGE = {"x": float_input(1, 2, 3)}
TWO = {"x": float_input(1, 2), "tokens": InputType((1, 4), np.dtype(np.int64))}


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 2, 3)).astype(np.float32)


def joined(dataset: Dataset, name: str = "x") -> np.ndarray:
    return np.concatenate([sample[name] for sample in dataset])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_each_row_of_an_npz_is_a_run(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "d.npz", x=images(5), y=np.arange(5))
    dataset = open_dataset(tmp_path / "d.npz", IMAGE)
    assert len(dataset) == 5 and dataset.notes == ()
    assert [sample["x"].shape for sample in dataset] == [(1, 2, 3)] * 5
    np.testing.assert_array_equal(joined(dataset), images(5))
    np.testing.assert_array_equal(joined(dataset), images(5))  # walked twice
    assert dataset.labels is not None and dataset.labels.tolist() == [0, 1, 2, 3, 4]


def test_an_npy_serves_a_model_of_one_input(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", images(3))
    dataset = open_dataset(tmp_path / "d.npy", IMAGE)
    np.testing.assert_array_equal(joined(dataset), images(3))
    assert dataset.labels is None


def test_arrays_in_fortran_order_are_read_in_their_own_order(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.asfortranarray(images(4)))
    np.testing.assert_array_equal(joined(open_dataset(tmp_path / "d.npy", IMAGE)), images(4))


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=images(2, 1))
    np.save(tmp_path / "a.npy", images(3, 0))
    (tmp_path / "readme.txt").write_text("not data")
    expected = np.concatenate([images(3, 0), images(2, 1)])
    np.testing.assert_array_equal(joined(open_dataset(tmp_path, IMAGE)), expected)


def test_labels_of_a_folder_are_joined(tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 2)):
        np.savez(tmp_path / f"{name}.npz", x=images(2), y=np.arange(first, first + 2))
    labels = open_dataset(tmp_path, IMAGE, limit=3).labels
    assert labels is not None and labels.tolist() == [0, 1, 2]


def test_a_batch_takes_consecutive_samples_and_drops_the_tail_with_a_note(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=images(7), y=np.arange(7))
    dataset = open_dataset(tmp_path / "a.npz", {"x": float_input(3, 2, 3)})
    assert len(dataset) == 2
    np.testing.assert_array_equal(joined(dataset), images(7)[:6])
    assert dataset.labels is not None and len(dataset.labels) == 6
    assert dataset.notes == ("1 of 7 samples dropped: the model runs 3 at a time",)


def test_a_batch_may_span_two_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images(3, 0))
    np.save(tmp_path / "b.npy", images(1, 1))
    dataset = open_dataset(tmp_path, {"x": float_input(2, 2, 3)})
    np.testing.assert_array_equal(joined(dataset), np.concatenate([images(3, 0), images(1, 1)]))


def test_one_rank_more_makes_axis_0_count_runs(tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((5, 31, 4)).astype(np.float32)
    state = np.zeros((5, 1, 1, 2), np.float32)
    np.savez(tmp_path / "d.npz", x=data, h=state, y=np.arange(5))
    dataset = open_dataset(tmp_path / "d.npz", {"x": float_input(31, 4), "h": float_input(1, 1, 2)})
    assert len(dataset) == 5
    np.testing.assert_array_equal(np.stack([sample["x"] for sample in dataset]), data)
    assert {sample["h"].shape for sample in dataset} == {(1, 1, 2)}


def test_a_limit_counts_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", images(9))
    assert len(open_dataset(tmp_path / "d.npy", IMAGE, limit=4)) == 4
    assert len(open_dataset(tmp_path / "d.npy", IMAGE, limit=100)) == 9
    assert len(open_dataset(tmp_path / "d.npy", {"x": float_input(2, 2, 3)}, limit=4)) == 2


def test_an_input_called_y_is_not_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", y=images(2))
    assert open_dataset(tmp_path / "d.npz", {"y": float_input(1, 2, 3)}).labels is None


@pytest.mark.parametrize("stored", [np.float64, np.float16, np.uint8, np.int64, ">f4", bool])
def test_types_that_keep_every_value_are_converted(tmp_path: Path, stored: np.typing.DTypeLike) -> None:
    data = np.array([[[0, 1, 1], [1, 0, 1]]]).astype(stored)
    np.save(tmp_path / "d.npy", data)
    converted = joined(open_dataset(tmp_path / "d.npy", IMAGE))
    assert converted.dtype == np.float32 and converted.dtype.isnative
    np.testing.assert_array_equal(converted, data.astype(np.float32))


def test_integers_become_narrower_where_they_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[3, -7]], np.int64))
    narrow = open_dataset(tmp_path / "d.npy", {"x": InputType((1, 2), np.dtype(np.int32))})
    assert joined(narrow).tolist() == [[3, -7]] and joined(narrow).dtype == np.int32


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed, lambda path, x: np.save(path, x)])
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path, save: Callable[..., None]) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.{'npy' if save not in (np.savez, np.savez_compressed) else 'npz'}"
        save(path, x=np.ones((count, 64, 64), np.float32))
        tracemalloc.start()
        for _ in open_dataset(path, {"x": float_input(1, 64, 64)}):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    assert peak(400) < 1.3 * peak(40)


def test_random_data_is_seeded_and_says_that_it_is_random() -> None:
    inputs = {**TWO, "mask": InputType((3,), np.dtype(bool))}
    dataset = random_dataset(inputs, 4, seed=1)
    assert len(dataset) == 4 and "guess" in dataset.notes[0]
    for name, one in inputs.items():
        first, again = joined(dataset, name), joined(random_dataset(inputs, 4, seed=1), name)
        np.testing.assert_array_equal(first, again)
        assert first.dtype == one.dtype
        assert not np.array_equal(first, joined(random_dataset(inputs, 4, seed=2), name))


def npz(**arrays: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.savez(folder / "d.npz", **arrays)
        return folder / "d.npz"

    return write


def content(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write


def folder_with_and_without_labels(folder: Path) -> Path:
    np.savez(folder / "a.npz", x=images(1), y=np.zeros(1))
    np.savez(folder / "b.npz", x=images(1))
    return folder


def objects(folder: Path) -> Path:
    np.save(folder / "d.npy", np.array([None, {}], object), allow_pickle=True)
    return folder / "d.npy"


REFUSED = [
    ("missing file", lambda folder: folder / "none.npz", r"none\.npz does not exist"),
    ("empty folder", lambda folder: folder, r"holds no \.npz or \.npy file"),
    ("another suffix", content("d.csv", b"1,2"), r"neither \.npz nor \.npy"),
    ("not an archive", content("d.npz", b"nonsense"), r"d\.npz cannot be read as an \.npz archive"),
    ("not an array", content("d.npy", b"nonsense"), r"d\.npy cannot be read as a numpy array"),
    ("open bracket", content("d.npy", HEADER_CUT), r"d\.npy cannot be read as a numpy array"),
    ("empty file", content("d.npy", b""), r"d\.npy cannot be read as a numpy array"),
    ("objects", objects, r"holds object"),
    ("wrong name", npz(image=images(1)), r"has arrays 'image'; the model's inputs are 'x'"),
    ("extra name", npz(x=images(1), z=images(1)), r"has arrays 'x', 'z'; the model's inputs are 'x'"),
    ("no arrays", npz(), r"has arrays none"),
    ("wrong shape", npz(x=np.zeros((4, 2, 5), np.float32)), r"shape \[4, 2, 5\].*takes \[1, 2, 3\].*\[samples, 2, 3\]"),
    ("wrong rank", npz(x=np.zeros((4, 6), np.float32)), r"shape \[4, 6\].*\[samples, 2, 3\] or \[samples, 1, 2, 3\]"),
    ("scalar", npz(x=np.float32(1)), r"shape \[\]"),
    ("text", npz(x=np.array([["a"]])), r"holds <U1"),
    ("complex numbers", npz(x=np.zeros((1, 2, 3), complex)), r"holds complex128"),
    ("no samples", npz(x=images(0)), r"gives 0 samples; the model needs 1"),
    ("too few labels", npz(x=images(3), y=np.zeros(2)), r"'y' has 2 rows for 3 samples"),
    ("labels that are no number", npz(x=images(3), y=np.array([0, 1, np.nan])), r"'y' holds nan for sample 2"),
    ("a scalar label", npz(x=images(3), y=np.float32(1)), r"one row for each sample"),
    ("labels in some files", folder_with_and_without_labels, r"1 of 2 files have 'y'"),
]


@pytest.mark.parametrize(("write", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_data_that_does_not_fit_is_refused_at_once(tmp_path: Path, write: Callable[[Path], Path], message: str) -> None:
    path = write(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(path, IMAGE)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 2), np.float32)}, r"the model's inputs are 'x', 'tokens'"),
        (
            {"x": np.zeros((2, 2), np.float32), "tokens": np.zeros((3, 4), np.int64)},
            r"different numbers of samples: 'x' 2, 'tokens' 3",
        ),
        ({"x": np.zeros((2, 2), np.float32), "tokens": np.zeros((2, 4), np.float32)}, r"is float32.*takes int64"),
    ],
)
def test_inputs_that_disagree_are_refused(tmp_path: Path, arrays: Arrays, message: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UserError, match=message):
        open_dataset(tmp_path / "d.npz", TWO)


def test_an_npy_for_two_inputs_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros((1, 2)))
    with pytest.raises(UserError, match=r"one array.*'x', 'tokens'"):
        open_dataset(tmp_path / "d.npy", TWO)


@pytest.mark.parametrize(
    ("value", "stored", "message"),
    [
        (np.nan, np.float32, r"array 'x' of .*d\.npz: sample 2 holds nan"),
        (-np.inf, np.float64, r"sample 2 holds -inf"),
        (1e300, np.float64, r"sample 2 holds 1e\+300; the data must be finite float32"),
        (2**24 + 1, np.int64, r"sample 2 holds 16777217, which float32 cannot represent"),
    ],
)
def test_a_bad_value_is_named_when_it_is_reached(tmp_path: Path, value: float, stored: type, message: str) -> None:
    data = np.ones((4, 2, 3), stored)
    data[2, 1, 1] = value
    np.savez(tmp_path / "d.npz", x=data)
    walk = iter(open_dataset(tmp_path / "d.npz", IMAGE))
    next(walk)
    next(walk)
    with pytest.raises(UserError, match=message):
        next(walk)


def test_an_integer_that_does_not_fit_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.array([[1], [2**40]]))
    with pytest.raises(UserError, match=f"sample 1 holds {2**40}, which int32"):
        list(open_dataset(tmp_path / "d.npy", {"x": InputType((1, 1), np.dtype(np.int32))}))


def test_a_truncated_npy_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", images(3))
    whole = (tmp_path / "d.npy").read_bytes()
    (tmp_path / "d.npy").write_bytes(whole[:-4])
    with pytest.raises(UserError, match=r"d\.npy ends inside row 2 of 3"):
        list(open_dataset(tmp_path / "d.npy", IMAGE))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    memory = io.BytesIO()
    np.savez(memory, x=images(3))
    damaged = bytearray(memory.getvalue())
    with zipfile.ZipFile(memory) as archive:
        size = archive.infolist()[0].file_size
    damaged[size] ^= 0xFF  # inside the last row: what precedes the member is shorter than that
    (tmp_path / "d.npz").write_bytes(damaged)
    with pytest.raises(UserError, match=r"array 'x' of .*d\.npz cannot be read.*CRC"):
        list(open_dataset(tmp_path / "d.npz", IMAGE))


def test_files_that_count_samples_differently_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images(2))
    np.save(tmp_path / "b.npy", images(2)[np.newaxis])
    with pytest.raises(UserError, match=r"disagree on the rank of input 'x'"):
        open_dataset(tmp_path, {"x": float_input(2, 2, 3)})


def test_limits_and_counts_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", images(3))
    with pytest.raises(UserError, match="limit of 0"):
        open_dataset(tmp_path / "d.npy", IMAGE, limit=0)
    with pytest.raises(UserError, match="0 samples is empty"):
        random_dataset(IMAGE, 0, seed=0)


def test_arrays_in_memory_are_read_like_those_of_a_file(tmp_path: Path) -> None:
    arrays = {"x": images(5), "y": np.arange(5)}
    np.savez(tmp_path / "d.npz", **arrays)
    held, stored = open_dataset(arrays, IMAGE, 4), open_dataset(tmp_path / "d.npz", IMAGE, 4)
    assert len(held) == 4 and held.notes == stored.notes
    np.testing.assert_array_equal(joined(held), joined(stored))
    assert held.labels is not None and held.labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"z": images(2)}, "the samples given have arrays 'z'; the model's inputs are 'x'"),
        ({"x": images(2), "y": np.arange(3)}, "the arrays given: 'y' has 3 rows for 2 samples"),
        ({"x": np.full((2, 2, 3), np.nan)}, "array 'x': sample 0 holds nan"),
        ({"x": np.zeros(())}, r"array 'x' has shape \[\]"),
    ],
)
def test_arrays_in_memory_that_do_not_fit_are_refused_by_name(arrays: Arrays, line: str) -> None:
    with pytest.raises(UserError, match=line):
        list(open_dataset(arrays, IMAGE))
