"""Every peer multiplies by the same reals: what is timed side by side is one product."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.target import load
from bevel.tools.bench.n_bits import FLOAT, LEVELS, OURS, times

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="onnxruntime's MatMulNBits differs elsewhere")


def test_all_compute_the_product_and_take_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bevel.tools.bench.n_bits.ROUNDS", 1)
    monkeypatch.setattr("bevel.tools.bench.n_bits.SECONDS", 0.01)
    found = times(2, 64, load("host"), tmp_path)
    assert set(found) == {FLOAT, OURS, *LEVELS}
    assert all(0 < seconds < 1 for seconds, _ in found.values())
    in_floats = [error for name, (_, error) in found.items() if LEVELS.get(name) != 4]
    assert max(in_floats) < 1e-5
    assert np.isfinite(list(found.values())).all()
    assert next(error for name, (_, error) in found.items() if LEVELS.get(name) == 4) < 0.05
