"""A dynamic dimension has the size that the user gave, or that the user's samples have."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.exchange.load import fix_batch
from bevel.tools.run.dimensions import dimensions
from bevel.tools.run.options import Options


def model(inputs: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => (float y) {{ y = Relu (x) }}'
    )


def sizes(
    folder: Path, inputs: str, dims: tuple[tuple[str, int], ...] = (), **arrays: tuple[int, ...]
) -> list[list[int]]:
    np.savez(
        folder / "calib.npz",
        allow_pickle=False,
        **{name: np.zeros(shape, np.float32) for name, shape in arrays.items()},
    )
    options = Options(folder / "m.onnx", target="host", output=folder / "out", calib=folder / "calib.npz", dim=dims)
    subject = model(inputs)
    fixed = fix_batch(subject, options.batch, dimensions(options, subject)[0])
    return [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in fixed.graph.input]


@pytest.mark.parametrize(
    ("inputs", "arrays", "expected"),
    [
        ("float[N,T] x", {"x": (16, 20)}, [[1, 20]]),
        ("float[N,T] x", {"x": (16, 1, 20)}, [[1, 20]]),
        ("float[N,?,?] x", {"x": (16, 20, 30)}, [[1, 20, 30]]),
        ("float[1,3,H,W] x", {"x": (5, 1, 3, 8, 6)}, [[1, 3, 8, 6]]),
        ("float[N,T] x, float[N,T,4] z", {"x": (16, 20), "z": (16, 20, 4)}, [[1, 20], [1, 20, 4]]),
        ("float[N,T] x, float[2,N] z", {"x": (16, 20), "z": (16, 2, 9)}, [[1, 20], [2, 1]]),
    ],
)
def test_samples_tell_what_the_user_did_not(tmp_path, inputs, arrays, expected) -> None:
    assert sizes(tmp_path, inputs, **arrays) == expected


def test_what_the_user_gave_counts(tmp_path) -> None:
    assert sizes(tmp_path, "float[N,T] x", (("T", 7),), x=(16, 20)) == [[1, 7]]
    assert sizes(tmp_path, "float[N,T,T] x", (("x:2", 7),), x=(16, 20, 20)) == [[1, 20, 7]]


def test_samples_that_disagree_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"dimension T is 20 in .*'x'.* and 21 in .*'z'.*--dim T=N"):
        sizes(tmp_path, "float[N,T] x, float[N,T] z", x=(4, 20), z=(4, 21))


def test_samples_of_another_rank_tell_nothing(tmp_path) -> None:
    with pytest.raises(UserError, match="--dim T=N"):
        sizes(tmp_path, "float[N,T] x", x=(4,))


def test_random_samples_tell_nothing() -> None:
    options = Options(Path("m.onnx"), target="host", output="out", calib="random")
    assert dimensions(options, model("float[N,T] x")) == ({}, [])


def test_a_note_says_where_a_size_is_from(tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 20), np.float32))
    options = Options(Path("m.onnx"), target="host", output="out", calib=tmp_path / "x.npy")
    found, notes = dimensions(options, model("float[N,T] x"))
    assert found == {"T": 20} and "dimension T is 20, as in" in notes[0].text
