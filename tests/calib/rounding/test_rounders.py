"""What holds for every rounder, found by its file: codes on the grid, near the weights, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.calib.formats.quantized import Grid, Quantized
from bevel.calib.formats.scheme import PerChannel, Scheme, TensorQuant
from bevel.calib.formats.tensor_format import BlockFormat, parse_tensor_format
from bevel.calib.rounding import rounder, rounder_names
from bevel.calib.scales.block_weights import block_grid
from bevel.calib.scales.weights import weight_quant

FORMATS = ("int8", "int4", "uint4", "e2m1", "e4m3", "ternary", "mxfp4", "mxint8", "int4:block8")
SHAPES = ((6, 16, 3, 3), (6, 1, 5), (16, 6))


def grid_of(weights: np.ndarray, name: str) -> Grid:
    format = parse_tensor_format(name)
    if isinstance(format, BlockFormat):
        return block_grid(weights, format, 0, 1)
    unsigned = name.startswith("u")
    scheme = Scheme(format, PerChannel(0), symmetric=not unsigned, restricted=name == "int8")
    return Grid(weight_quant(weights, scheme))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", rounder_names())
def test_codes_are_the_formats_and_reals_lie_within_two_steps_of_the_weights(
    name: str, format: str, shape: tuple[int, ...]
) -> None:
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    grid = grid_of(weights, format)
    made = rounder(name)(weights, grid)
    assert made.codes.shape == shape and made.codes.dtype == grid.scheme.dtype
    if grid.scheme.levels is not None:
        assert set(made.codes.ravel().tolist()) <= set(grid.scheme.levels.steps)
    if made.coded is not None:
        np.testing.assert_array_equal(made.coded.values(), made.integers)
    nearest = np.abs(rounder("nearest")(weights, grid).dequantize() - weights)
    gap = 1 if grid.scheme.levels is None else np.diff(grid.scheme.levels.array).max()
    assert (np.abs(made.dequantize() - weights) <= nearest + gap * grid.steps(shape)[0] * 1.0001).all()
    np.testing.assert_array_equal(rounder(name)(weights, grid).codes, made.codes)


@pytest.mark.parametrize("name", rounder_names())
def test_a_rounder_bears_the_name_of_its_file(name: str) -> None:
    assert rounder(name).name == name


def test_an_unknown_rounder_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"known are .*kernel-wise, min-max, nearest"):
        rounder("up")


def test_codes_that_the_scheme_has_not_are_refused() -> None:
    scheme = Scheme(parse_tensor_format("int4"), PerChannel(0), symmetric=True)  # type: ignore[arg-type]
    grid = Grid(TensorQuant(scheme, np.ones(1, np.float32), np.zeros(1, np.int8)))
    with pytest.raises(ValueError, match="lie outside int4"):
        Quantized(grid, np.array([[8]], np.int8))
    with pytest.raises(ValueError, match="int8, not int64"):
        Quantized(grid, np.array([[7]]))


def test_nearest_is_what_quantize_linear_computes() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 8, 3, 3)).astype(np.float32)
    grid = grid_of(weights, "int4")
    np.testing.assert_array_equal(rounder("nearest")(weights, grid).codes, grid.quant.quantize(weights))
