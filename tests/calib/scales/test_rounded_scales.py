"""Scales that are tried to the end: none leaves more than the given ones, and what a bias asks of them is kept."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.formats.format import Format
from bevel.calib.formats.quantized import Grid, Quantized
from bevel.calib.formats.scheme import PerChannel, PerTensor, Scheme
from bevel.calib.formats.tensor_format import BlockFormat, parse_tensor_format
from bevel.calib.observe.moments import Moments
from bevel.calib.observe.rows import Along, Patches, Rows, transposed
from bevel.calib.rounding import rounder
from bevel.calib.rounding.base import SeenProduct
from bevel.calib.scales.block_weights import block_grid
from bevel.calib.scales.rounded_scales import FEWEST, MOST, tried_grids
from bevel.calib.scales.weights import weight_quant

PRODUCTS: dict[str, tuple[Rows, tuple[int, ...], int]] = {  # rows, weights, channel axis
    "dense": (Patches((3,), (1,), (1,), (0, 0)), (6, 16, 3), 0),
    "depthwise": (Patches((3, 3), (1, 1), (1, 1), (0,) * 4, 6), (6, 1, 3, 3), 0),
    "transposed": (transposed((3,), (2,), (1,), (0, 0), (0,), 2), (6, 4, 3), 1),
    "matrix": (Along(), (16, 6), 1),
}


def grid_of(weights: np.ndarray, name: str, axis: int | None) -> Grid:
    format = parse_tensor_format(name)
    if isinstance(format, BlockFormat):
        return block_grid(weights, format, axis or 0, 1 - (axis or 0))
    assert isinstance(format, Format)
    return Grid(
        weight_quant(weights, Scheme(format, PerTensor() if axis is None else PerChannel(axis), symmetric=True))
    )


def seen_of(rows: Rows, weights: np.ndarray) -> SeenProduct:
    rng = np.random.default_rng(0)
    matrices = rows.matrices(weights)
    x = rng.standard_normal((len(matrices), 400, matrices.shape[1])) + rng.standard_normal((len(matrices), 400, 1))
    return SeenProduct(rows, Moments.of(x.astype(np.float32), (x @ matrices).astype(np.float32)))


def errors(seen: SeenProduct, reals: np.ndarray) -> np.ndarray:
    return np.asarray(seen.fitted.error(seen.rows.matrices(reals).astype(np.float64)))


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("format", ["int4", "int2", "e2m1", "e2m3"])
def test_less_of_the_output_is_lost_than_with_the_scales_of_least_squared_error(kind: str, format: str) -> None:
    rows, shape, axis = PRODUCTS[kind]
    weights = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    grid, seen = grid_of(weights, format, axis), seen_of(rows, weights)
    made = rounder("gptq")(weights, grid, seen)
    assert made.scale.shape == grid.quant.scale.shape and made.scale.dtype == np.float32
    given = Quantized(grid, rounder("gptq").codes(weights, grid, seen))
    left, before = (errors(seen, one.dequantize()).sum() for one in (made, given))
    assert left < (0.95 if kind == "depthwise" else 0.99) * before


def test_no_scale_gets_below_what_a_bias_asks_for() -> None:
    weights = np.random.default_rng(1).standard_normal((16, 6)).astype(np.float32)
    grid, seen = grid_of(weights, "int4", 1), seen_of(Along(), weights)
    least = grid.quant.scale * np.float32(0.99)
    made = rounder("gptq")(weights, grid, seen, least)
    assert (made.scale >= least).all()
    assert (rounder("gptq")(weights, grid, seen).scale < least).any()


@pytest.mark.parametrize(("format", "axis"), [("int8", 1), ("e4m3", 1), ("mxfp4", 1), ("int4", None)])
def test_grids_of_blocks_of_many_codes_and_of_one_scale_stay(format: str, axis: int | None) -> None:
    weights = np.random.default_rng(1).standard_normal((64, 6)).astype(np.float32)
    grid = grid_of(weights, format, axis)
    assert rounder("gptq").grid(weights, grid, seen_of(Along(), weights), None) is grid


def test_kernels_of_few_inputs_have_more_tries() -> None:
    grid = grid_of(np.ones((9, 2), np.float32), "int4", 1)
    assert [len(tried_grids(grid, inputs, None)) - 1 for inputs in (4, 32, 576)] == [MOST, 16, FEWEST]
    assert tried_grids(grid, 9, None)[0] is grid
