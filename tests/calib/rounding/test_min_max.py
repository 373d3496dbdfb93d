"""The largest error of any row becomes smaller than GPTQ's, and the mean grows by no more than is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevel.calib.formats.quantized import Grid
from bevel.calib.formats.scheme import PerChannel, Scheme
from bevel.calib.formats.tensor_format import parse_tensor_format
from bevel.calib.observe.moments import Moments
from bevel.calib.observe.rows import Along, Patches, Rows
from bevel.calib.rounding import rounder
from bevel.calib.rounding.base import KeptRows, SeenProduct
from bevel.calib.rounding.min_max import MORE
from bevel.calib.scales.weights import weight_quant

PRODUCTS: dict[str, tuple[Rows, tuple[int, ...], int]] = {  # rows, weights, channel axis
    "matrix": (Along(), (144, 12), 1),
    "groups": (Patches((5,), (1,), (1,), (0, 0), 2), (12, 20, 5), 0),
}


def grid_of(weights: np.ndarray, format: str, axis: int) -> Grid:
    scheme = Scheme(parse_tensor_format(format), PerChannel(axis), symmetric=True)  # type: ignore[arg-type]
    return Grid(weight_quant(weights, scheme))


def seen_of(rows: Rows, weights: np.ndarray, count: int = 1024) -> SeenProduct:
    """Inputs with long tails that have much in common."""
    matrices, rng = rows.matrices(weights).astype(np.float32), np.random.default_rng(0)
    groups, k, _ = matrices.shape
    x = rng.standard_t(4, (groups, count, k)) + 2 * rng.standard_normal((groups, count, 1))
    kept = KeptRows(x.astype(np.float32), (x @ matrices).astype(np.float32))
    return SeenProduct(rows, Moments.of(kept.x, kept.y), kept=kept)


def errors(seen: SeenProduct, reals: np.ndarray) -> np.ndarray:
    """[groups, rows, out]"""
    assert seen.kept is not None
    return np.asarray(seen.kept.x.astype(np.float64) @ seen.rows.matrices(reals).astype(np.float64) - seen.kept.y)


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("format", ["int4", "e2m1", "int2"])
def test_the_largest_error_falls_and_the_mean_grows_little(format: str, kind: str) -> None:
    rows, shape, axis = PRODUCTS[kind]
    weights = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    grid, seen = grid_of(weights, format, axis), seen_of(rows, weights)
    before, after = (errors(seen, rounder(name)(weights, grid, seen).dequantize()) for name in ("gptq", "min-max"))
    largest = np.abs(after).max(axis=1) / np.abs(before).max(axis=1)
    assert (largest <= 1 + 1e-6).all() and largest.mean() < 0.96
    assert (np.square(after).sum(axis=1) <= np.square(before).sum(axis=1) * MORE * (1 + 1e-6)).all()


def test_without_rows_the_codes_are_those_of_gptq() -> None:
    weights = np.random.default_rng(1).standard_normal((40, 6)).astype(np.float32)
    grid, seen = grid_of(weights, "int4", 1), seen_of(Along(), weights)
    alone = rounder("min-max")(weights, grid, replace(seen, kept=None))
    np.testing.assert_array_equal(alone.codes, rounder("gptq")(weights, grid, seen).codes)


def test_products_of_the_same_weights_are_looked_at_together() -> None:
    one, other = (KeptRows(np.full((1, 2, 3), v, np.float32), np.full((1, 2, 1), v, np.float32)) for v in (1, 2))
    both = KeptRows.joined([one, other])
    assert both.x[0, :, 0].tolist() == both.y[0, :, 0].tolist() == [1, 1, 2, 2]
