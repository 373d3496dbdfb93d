"""`bevel bench layers`: layers beside the products of this machine."""

from __future__ import annotations

import ctypes
import json
import platform
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.cpu.levels import LEVELS
from bevel.backends.cpu.x86 import peak
from bevel.backends.cpu.x86.vectors import AVX2, PRODUCTS, ByteProducts, MultiplyAdd
from bevel.backends.target import load
from bevel.tools.bench import layers
from bevel.tools.command import cli

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="products of x86-64")
EACH: dict[str, ByteProducts] = {"avx2": AVX2, **PRODUCTS}


@pytest.mark.parametrize("level", EACH)
def test_the_loop_in_registers_takes_every_product(level: str) -> None:
    """Words of bytes, or of pairs of int16, times weights, added to the word that they are, modulo 2**32."""
    isa, steps = EACH[level], 5
    if level in LEVELS and not LEVELS[level].here():
        pytest.skip(f"this processor has no {level}")
    rng = np.random.default_rng(0)
    w = rng.integers(-128, 128, peak.BYTES, dtype=np.int8)
    sums = rng.integers(-(2**31), 2**31, (peak.CHAINS, isa.words), dtype=np.int32)
    expected: Any = sums.copy()
    for _ in range(steps):
        halves = isinstance(isa, MultiplyAdd)
        inputs = expected.view(np.int16 if halves else np.uint8).reshape(*sums.shape, -1).astype(np.int64)
        weights = w[: inputs[0].size].reshape(isa.words, -1).astype(np.int64)
        expected = (expected + (inputs * weights).sum(axis=-1)).astype(np.int32)
    function = peak.made(peak.loop(isa, steps), load("host"), LEVELS.get(level))
    function(*(ctypes.c_void_p(one.ctypes.data) for one in (w, sums)))
    np.testing.assert_array_equal(sums, expected)


def test_rows_say_what_ran_and_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = list(islice(layers.layers(), 2))
    monkeypatch.setattr(layers, "layers", lambda: few)
    written = tmp_path / "rows.json"
    assert cli.main(["bench", "layers", "--isa", "avx2", "-o", str(written)]) == 0
    assert "beside products of avx2 in registers" in capsys.readouterr().out
    rows = json.loads(written.read_text())
    assert [one["level"] for one in rows] == ["avx2", "avx2"]
    for one in rows:
        assert one["rate"] == pytest.approx(one["macs"] / one["us"] * 1e6)
        assert one["share"] > 0 and one["peak"] > 0


def test_shares_are_those_of_each_turn() -> None:
    turns = [layers.Turn(*turn) for turn in ((1.0, 1200.0), (2.0, 1000.0), (1.0, 400.0))]
    row = layers.LayerRow.of_turns("layer", "avx2", 600, turns)
    assert (row.us, row.rate, row.peak) == (1e6, 600, 1000)
    assert row.share == pytest.approx(600 / 1200)  # of 600 / 1200, 300 / 1000, 600 / 400


def test_other_machines_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "layers", "--target", "cortex-m4"]) == 2
    assert "not those of cortex-m4" in capsys.readouterr().err
