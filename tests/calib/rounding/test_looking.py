"""Rounders that look at what a product reads: what each of them promises of the error of its output."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bevel.calib.formats.lattice import Lattice
from bevel.calib.formats.quantized import Grid
from bevel.calib.formats.scheme import PerChannel, Scheme
from bevel.calib.formats.tensor_format import BlockFormat, parse_tensor_format
from bevel.calib.observe.moments import Moments
from bevel.calib.observe.rows import Along, Patches, Rows, transposed
from bevel.calib.rounding import rounder, rounder_names
from bevel.calib.rounding.adaround import AdaRound, ends_of
from bevel.calib.rounding.base import SeenProduct
from bevel.calib.rounding.coordinate_descent import descended, error_of
from bevel.calib.rounding.flexround import FlexRound
from bevel.calib.rounding.gptq import nearest_plane, triangle
from bevel.calib.rounding.refit import best_fit, refitted
from bevel.calib.scales.block_weights import block_grid
from bevel.calib.scales.weights import weight_quant

FORMATS = ("int8", "int4", "uint4", "int2", "e2m1", "e4m3", "ternary", "mxfp4", "mxint8", "int4:block8")
LOOKING = [name for name in rounder_names() if rounder(name).looks]
PRODUCTS: dict[str, tuple[Rows, tuple[int, ...], int, int]] = {  # rows, weights, groups, channel axis
    "dense": (Patches((3, 3), (1, 1), (1, 1), (0,) * 4), (6, 16, 3, 3), 1, 0),
    "depthwise": (Patches((5,), (1,), (1,), (0, 0), 6), (6, 1, 5), 6, 0),
    "groups": (Patches((3,), (1,), (1,), (0, 0), 2), (6, 4, 3), 2, 0),
    "transposed": (transposed((3,), (2,), (1,), (0, 0), (0,), 2), (6, 4, 3), 2, 1),
    "matrix": (Along(), (16, 6), 1, 1),
    "turned": (Along(turned=True), (6, 16), 1, 0),
}


def grid_of(weights: np.ndarray, name: str, axis: int) -> Grid:
    format = parse_tensor_format(name)
    if isinstance(format, BlockFormat):
        return block_grid(weights, format, axis, 1 - axis)
    scheme = Scheme(format, PerChannel(axis), symmetric=not name.startswith("u"), restricted=name == "int8")
    return Grid(weight_quant(weights, scheme))


def seen_of(rows: Rows, weights: np.ndarray, alike: float = 2.0, rough: float = 0.0, seed: int = 0) -> SeenProduct:
    """Inputs that have much in common. rough: what the float model read besides, a part of what is read here."""
    rng = np.random.default_rng(seed)
    matrices = rows.matrices(weights).astype(np.float32)
    groups, k, _ = matrices.shape
    parts = []
    for count in (400, 100):
        x = rng.standard_normal((groups, count, k)) + alike * rng.standard_normal((groups, count, 1))
        true = x + rough * x[:, :, ::-1]
        parts.append(Moments.of(x.astype(np.float32), (true @ matrices).astype(np.float32)))
    return SeenProduct(rows, *parts)


def error(seen: SeenProduct, reals: np.ndarray) -> float:
    return float(seen.fitted.error(seen.rows.matrices(reals).astype(np.float64)).sum())


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", LOOKING)
def test_the_output_is_nearer_than_by_the_nearest_codes(name: str, format: str, kind: str) -> None:
    rows, shape, _, axis = PRODUCTS[kind]
    weights = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    grid, seen = grid_of(weights, format, axis), seen_of(rows, weights)
    made = rounder(name)(weights, grid, seen)
    if grid.scheme.levels is not None:
        assert set(made.codes.ravel().tolist()) <= set(grid.scheme.levels.steps)
    nearest = rounder("nearest")(weights, grid)
    assert error(seen, made.dequantize()) <= error(seen, nearest.dequantize()) * (1 + 1e-6)  # moments are rounded
    np.testing.assert_array_equal(rounder(name)(weights, grid, seen).codes, made.codes)


@pytest.mark.parametrize("name", LOOKING)
def test_of_few_weights_the_best_codes_of_all_are_found_or_nearly(name: str) -> None:
    """Four weights of int2: all 4**4 codes are tried. Of 40 products, few are missed, and by little."""
    ratios = []
    for seed in range(40):
        weights = np.random.default_rng(seed).standard_normal((4, 1)).astype(np.float32)
        grid, seen = grid_of(weights, "int2", 1), seen_of(Along(), weights, alike=1.0, seed=seed)
        step = float(grid.quant.scale[0])
        every = np.array(list(product(range(-2, 2), repeat=4)), np.float64).T * step
        best = float(((every - weights).T @ seen.fitted.second[0] * (every - weights).T).sum(axis=1).min())
        change = rounder(name)(weights, grid, seen).dequantize().astype(np.float64) - weights
        ratios.append((change.T @ seen.fitted.second[0] @ change).item() / best)
    assert min(ratios) > 1 - 1e-4 and np.median(ratios) < 1.05 and np.mean(ratios) < 1.5


def test_nearest_plane_makes_the_codes_of_gptq_as_it_was_published() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((150, 8)).astype(np.float32)
    grid, seen = grid_of(weights, "int4", 1), seen_of(Along(), weights)
    second, lattice = seen.fitted.second, Lattice.of(grid, Along(), weights.shape)
    found = nearest_plane(weights[np.newaxis].astype(np.float64), second, lattice)
    np.testing.assert_array_equal(found[0], published(weights, second[0], grid.quant.scale, -8, 7))


def published(weights: np.ndarray, second: np.ndarray, scale: np.ndarray, low: int, high: int) -> np.ndarray:
    """Algorithm 1 of Frantar et al. 2023, with the order of inputs of its authors' program."""
    damped = second + 0.01 * np.diag(second).mean() * np.eye(len(second))
    order = np.argsort(np.diag(second), kind="stable")[::-1]
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left, codes = weights.astype(np.float64)[order], np.zeros(weights.shape)
    for place in range(len(left)):
        codes[order[place]] = np.clip(np.rint(left[place] / scale), low, high)
        lost = (left[place] - codes[order[place]] * scale) / upper[place, place]
        left[place:] -= np.outer(upper[place, place:], lost)
    return codes


def test_after_descent_no_single_code_can_be_moved_for_the_better() -> None:
    weights = np.random.default_rng(0).standard_normal((100, 6)).astype(np.float32)
    grid, seen = grid_of(weights, "int4", 1), seen_of(Along(), weights)
    lattice, second = Lattice.of(grid, Along(), weights.shape), seen.fitted.second
    wanted = weights[np.newaxis].astype(np.float64)
    found = descended(wanted, second, lattice, lattice.nearest(wanted), 100)

    def cost(integers: np.ndarray) -> np.ndarray:
        change = integers * lattice.steps - wanted
        return np.asarray(np.einsum("gko,gkl,glo->go", change, second, change))

    least = cost(found)
    assert least.sum() < cost(lattice.nearest(wanted)).sum() * 0.6
    for place in range(100):
        for move in (-1, 1):
            moved = found.copy()
            moved[:, place] = np.clip(moved[:, place] + move, lattice.low[:, place], lattice.high[:, place])
            assert (cost(moved) >= least * (1 - 1e-4)).all()  # stiffened by 1e-6 of the mean


def test_refit_takes_up_what_the_quantized_input_has_in_common_with_the_error() -> None:
    weights = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    seen = seen_of(Along(), weights, rough=0.3)
    aimed = rounder("refit").aim(weights, seen)
    assert error(seen, aimed) < error(seen, weights) / 100
    codes = rounder("refit")(aimed, grid_of(aimed, "int4", 1), seen)
    plain = rounder("gptq")(weights, grid_of(weights, "int4", 1), seen)
    assert error(seen, codes.dequantize()) < error(seen, plain.dequantize()) / 2


def test_where_few_rows_say_nothing_of_others_the_weights_stay() -> None:
    """Fewer rows than inputs are met by weights that are wrong for all others."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((40, 4)).astype(np.float32)

    def part(count: int) -> Moments:
        x = rng.standard_normal((1, count, 40)).astype(np.float32)
        y = (x @ weights + 2 * rng.standard_normal((1, count, 4))).astype(np.float32)
        return Moments.of(x, y)

    given = weights[np.newaxis].astype(np.float64)
    assert best_fit(given, SeenProduct(Along(), part(20), part(400))) is given
    assert rounder("refit").aim(weights, SeenProduct(Along(), part(20), part(400))) is weights
    assert best_fit(given, SeenProduct(Along(), part(20))) is not given


def test_outputs_without_weights_keep_none() -> None:
    weights = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    weights[:, 1] = 0
    found = refitted(weights[np.newaxis].astype(np.float64), seen_of(Along(), weights + 1).fitted, 0.01)
    assert not found[0, :, 1].any() and found[0, :, [0, 2]].all()


def test_inputs_that_are_always_0_or_always_alike_are_rounded_too() -> None:
    weights = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    for x in (np.zeros((1, 50, 8), np.float32), np.ones((1, 50, 8), np.float32)):
        seen = SeenProduct(Along(), Moments.of(x, x @ weights))
        for name in LOOKING:
            aimed = rounder(name).aim(weights, seen)
            made = rounder(name)(aimed, grid_of(aimed, "int4", 1), seen)
            assert error(seen, made.dequantize()) <= error(
                seen, rounder("nearest")(weights, grid_of(weights, "int4", 1)).dequantize()
            )


def test_a_matrix_without_a_factor_is_damped_until_it_has_one() -> None:
    indefinite = np.array([[[1.0, 2.0], [2.0, 1.0]]])
    found = triangle(indefinite, 0.01)
    assert np.isfinite(found).all() and found[0, 1, 0] == 0


def test_adaround_leaves_no_weight_undecided_and_less_error_than_nearest_before_descent() -> None:
    weights = np.random.default_rng(5).standard_normal((24, 8)).astype(np.float32)
    grid, seen = grid_of(weights, "int4", 1), seen_of(Along(), weights, alike=1.0)
    lattice = Lattice.of(grid, seen.rows, weights.shape)
    wanted, second = weights[np.newaxis].astype(np.float64), seen.fitted.second
    learned, (low, gap) = AdaRound().learned(wanted, second, lattice), ends_of(wanted, lattice)
    assert (((learned == low) | (learned == low + gap)).all()) and (gap <= 1).all()
    nearest = lattice.nearest(wanted)
    changes = [one * lattice.steps - wanted for one in (learned, nearest)]
    assert error_of(changes[0], second).sum() < 0.7 * error_of(changes[1], second).sum()


def test_pressure_begins_after_a_fifth_and_drives_shares_to_their_ends() -> None:
    one = AdaRound(steps=100)
    shares = np.array([0.0, 0.4, 0.5, 0.6, 1.0])
    assert one.pressure(shares, 10) == 0.0
    late = np.asarray(one.pressure(shares, 100))
    assert late[2] == 0 and (late[:2] > 0).all() and (late[3:] < 0).all()  # a slope is walked down


def test_flexround_leaves_less_error_than_nearest_in_every_output_before_descent() -> None:
    weights = np.random.default_rng(5).standard_normal((24, 8)).astype(np.float32)
    grid, seen = grid_of(weights, "int6", 1), seen_of(Along(), weights, alike=1.0)
    lattice = Lattice.of(grid, seen.rows, weights.shape)
    wanted, second = weights[np.newaxis].astype(np.float64), seen.fitted.second
    learned, nearest = FlexRound().learned(wanted, second, lattice), lattice.nearest(wanted)
    errors = [error_of(one * lattice.steps - wanted, second) for one in (learned, nearest)]
    assert (errors[0] <= errors[1]).all() and errors[0].sum() < 0.7 * errors[1].sum()
