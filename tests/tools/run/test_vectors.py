"""Test vectors of a bundle come back as they were written; what is damaged is refused in one line."""

from pathlib import Path

import numpy as np
import pytest

from bevel.calib.errors import UserError
from bevel.tools.run.vectors import NAME, Vectors, load, save

VECTORS = Vectors({"x": np.arange(6, dtype=np.int8).reshape(3, 2)}, {"y": np.array([1, 2, 3], np.int8)})


def test_vectors_come_back(tmp_path: Path) -> None:
    save(tmp_path, VECTORS)
    found = load(tmp_path)
    np.testing.assert_array_equal(found.inputs["x"], VECTORS.inputs["x"])
    np.testing.assert_array_equal(found.expected["y"], VECTORS.expected["y"])


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_damaged_vectors_are_refused(tmp_path: Path, damage: str) -> None:
    save(tmp_path, VECTORS)
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(
        content[: len(content) // 2] if damage == "cut" else content.replace(b"\4\5", b"\6\7")
    )
    if damage == "missing":
        (tmp_path / NAME).unlink()
    with pytest.raises(UserError, match="cannot be read; run optimize again"):
        load(tmp_path)
