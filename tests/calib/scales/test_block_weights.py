"""Weights in blocks: values that the format has, scales the standard allows, and less error than its rule gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bevel.calib.formats.coded import Coded
from bevel.calib.formats.float_format import E2M1, E4M3
from bevel.calib.formats.levels import levels_of
from bevel.calib.formats.quantized import Quantized
from bevel.calib.formats.scheme import PerBlock, PerTensor
from bevel.calib.formats.tensor_format import BlockFormat, TensorFormat, fits_int8, parse_tensor_format
from bevel.calib.rounding.kernel_wise import ROUNDER
from bevel.calib.scales.block_weights import block_grid, blocks_of, factor_table

NAMES = (
    *("mxfp4", "mxfp6", "mxfp6e3m2", "mxfp8", "mxint8", "nvfp4"),
    *("int4:block32", "int2:block8", "e2m1:block16", "e3m2:block4", "ternary:block32", "log3:block16"),
)


def format_of(name: str) -> BlockFormat:
    found = parse_tensor_format(name)
    assert isinstance(found, BlockFormat)
    return found


def weights(seed: int, shape: tuple[int, ...] = (5, 40, 3, 3)) -> NDArray[np.float32]:
    """Normal numbers whose size differs from block to block, and a block and a channel of zeros."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal(shape) * np.exp2(rng.integers(-4, 5, (*shape[:2], *[1] * (len(shape) - 2))))
    made[1], made[2, :32] = 0, 0
    return made.astype(np.float32)


def in_blocks(w: NDArray[Any], format: BlockFormat, axis: int, summed: int) -> Quantized:
    return ROUNDER(w, block_grid(w, format, axis, summed))


def coded_of(quant: Quantized) -> Coded:
    assert quant.coded is not None
    return quant.coded


def factors_of(quant: Quantized) -> NDArray[np.int64]:
    factors: NDArray[np.int64] = coded_of(quant).block_table.astype(np.int64)[coded_of(quant).block_codes]
    return factors


def error(found: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.square(found - expected.astype(np.float64)).sum())


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_an_element_times_the_scale_of_its_block(name: str) -> None:
    format, w = format_of(name), weights(0)
    quant = in_blocks(w, format, axis=0, summed=1)
    levels = levels_of(format.element)
    assert levels is not None and coded_of(quant).blocks == PerBlock(1, format.size)
    assert set(coded_of(quant).table[coded_of(quant).codes].ravel()) <= set(levels.steps)
    assert coded_of(quant).bits == format.bits and len(levels.steps) <= 2**format.bits
    assert len(np.unique(factors_of(quant))) <= 256
    assert np.abs(coded_of(quant).values()).max() < 2**31
    assert quant.scale.shape == (5,) and (quant.scale > 0).all()
    assert not quant.dequantize()[1].any()


@given(name=st.sampled_from([name for name in NAMES if name.startswith("mx")]), seed=st.integers(0, 50))
def test_microscaling_twice_is_microscaling_once(name: str, seed: int) -> None:
    once = in_blocks(weights(seed, (3, 40)), format_of(name), axis=0, summed=1).dequantize()
    np.testing.assert_array_equal(in_blocks(once, format_of(name), axis=0, summed=1).dequantize(), once)


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 50))
def test_rounding_within_a_block_is_monotonic_and_nearest(name: str, seed: int) -> None:
    w = weights(seed, (3, 40))
    format = format_of(name)
    quant = in_blocks(w, format, axis=0, summed=1)
    levels, reals = levels_of(format.element), quant.dequantize()
    assert levels is not None and isinstance(coded_of(quant).blocks, PerBlock)
    for row, factors, values, scale in zip(w, factors_of(quant), reals, quant.scale, strict=True):
        for block, factor in enumerate(factors):
            part = slice(block * format.size, (block + 1) * format.size)
            order = np.argsort(row[part], kind="stable")
            assert (np.diff(values[part][order]) >= 0).all()
            grid = levels.array * float(factor) * float(scale)
            if format.element.name == "int8":
                grid = grid[1:]  # -128 is left out
            least = np.abs(row[part][:, None] - grid).min(axis=1)
            np.testing.assert_allclose(np.abs(row[part] - values[part]), least, rtol=0, atol=1e-6 * np.abs(row).max())


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("mx")])
def test_microscaling_scales_are_powers_of_two_and_beat_the_rule_of_the_standard(name: str) -> None:
    format, w = format_of(name), weights(1, (8, 256))
    quant = in_blocks(w, format, axis=0, summed=1)
    scales = factors_of(quant) * quant.scale[:, None].astype(np.float64)
    np.testing.assert_array_equal(np.exp2(np.rint(np.log2(scales))), scales)
    blocks = w.astype(np.float64).reshape(8, -1, format.size)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    high = np.floor(np.log2(np.abs(format.element.values()).max()))
    rule = np.exp2(np.floor(np.log2(np.where(largest > 0, largest, 1))) - high)
    by_rule = (format.element.round(blocks / rule) * rule).reshape(w.shape)
    assert error(quant.dequantize(), w) <= error(by_rule, w) * (1 + 1e-9)


def test_nvfp4_has_scales_of_e4m3_under_one_of_the_tensor() -> None:
    quant = in_blocks(weights(0), format_of("nvfp4"), axis=0, summed=1)
    assert len(set(quant.scale)) == 1
    assert set(factors_of(quant).ravel() / 512) <= set(E4M3.values())
    assert set(coded_of(quant).table / 2) == set(E2M1.values())


def test_integer_scales_are_eight_bits_and_better_than_one_scale_a_channel() -> None:
    w = weights(0)
    blocks = in_blocks(w, format_of("int4:block32"), axis=0, summed=1)
    assert factors_of(blocks).min() >= 1 and factors_of(blocks).max() <= 255
    channel = in_blocks(w, BlockFormat(format_of("int4:block32").element, 2**16), axis=0, summed=1)
    assert isinstance(coded_of(channel).blocks, PerTensor)
    assert error(blocks.dequantize(), w) < 0.7 * error(channel.dequantize(), w)


def test_blocks_run_along_the_other_axis_of_a_matrix() -> None:
    w = weights(3, (6, 64))
    rows, columns = (in_blocks(one, format_of("mxfp4"), axis, 1 - axis) for one, axis in ((w, 0), (w.T, 1)))
    np.testing.assert_array_equal(rows.dequantize(), columns.dequantize().T)
    turned = coded_of(columns).transpose((1, 0))
    assert turned.blocks == coded_of(rows).blocks and isinstance(turned, Coded)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 1, 3, 3), PerTensor()),
        ((8, 1, 7, 7), PerTensor()),
        ((8, 3, 3, 3), PerTensor()),
        ((8, 16), PerTensor()),
        ((8, 16, 3, 3), PerBlock(1, 32)),
        ((8, 64), PerBlock(1, 32)),
    ],
)
def test_a_channel_that_fits_a_block_or_has_one_input_is_one_block(shape: Any, expected: Any) -> None:
    assert blocks_of(shape, 32, 0, 1) == expected
    quant = in_blocks(weights(0, shape)[:1], format_of("mxfp4"), axis=0, summed=1)
    assert np.log2(quant.scale) == np.rint(np.log2(quant.scale))


def test_formats_whose_integers_leave_int32_have_no_factors() -> None:
    for name in ("mxfp8e5m2", "log5:block8"):
        assert (factor_table(format_of(name)) is None) == (name == "mxfp8e5m2")
    with pytest.raises(ValueError, match=r"mxfp8e5m2.*int32"):
        in_blocks(weights(0), format_of("mxfp8e5m2"), 0, 1)
    with pytest.raises(ValueError, match="NaN"):
        in_blocks(np.full((2, 64), np.nan, np.float32), format_of("mxfp4"), 0, 1)


@pytest.mark.parametrize("name", [*NAMES, "int4", "e4m3", "ternary"])
def test_a_name_reads_back_as_its_format(name: str) -> None:
    assert parse_tensor_format(parse_tensor_format(name).name) == parse_tensor_format(name)


def test_other_names_of_a_format_are_the_same_format() -> None:
    assert parse_tensor_format("mxfp6e2m3") == parse_tensor_format("mxfp6")
    assert parse_tensor_format("mxfp8e4m3") == parse_tensor_format("mxfp8")


@pytest.mark.parametrize("name", ["mxfp5", "int4:block1", "uint4:block32", "int4:block", "int4:block99999999"])
def test_names_of_no_format_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        parse_tensor_format(name)


def test_narrow_formats_are_integers_in_int8_with_one_scale_a_channel() -> None:
    def narrow(name: str) -> bool:
        found: TensorFormat = parse_tensor_format(name)
        return fits_int8(found)

    assert all(map(narrow, ("int8", "e2m3", "uint7", "binary", "apot5k2")))
    assert not any(map(narrow, ("e3m2", "e4m3", "mxfp4", "int4:block32", "int9", "log5")))


def test_stored_bits_count_the_scales() -> None:
    assert [format_of(name).stored_bits for name in ("mxfp4", "nvfp4", "int4:block32")] == [4.25, 4.5, 4.25]


GROUPS = ("int4:group32", "int3:group16", "int2:group8", "int7:group32")


@given(name=st.sampled_from(GROUPS), seed=st.integers(0, 50))
def test_every_integer_of_a_group_lies_within_int8(name: str, seed: int) -> None:
    w = weights(seed) + np.float32(0.3 * (seed % 3))
    quant = in_blocks(w, format_of(name), axis=0, summed=1)
    coded = coded_of(quant)
    assert np.abs(coded.values()).max() <= 127 and coded.bits == format_of(name).bits
    assert coded.block_zeros is not None and len(coded.block_table) <= 256
    np.testing.assert_array_equal(quant.dequantize(), coded.values().astype(np.float32) * spread_scale(quant))


def spread_scale(quant: Quantized) -> NDArray[np.float32]:
    return quant.scale.reshape(-1, *[1] * (quant.codes.ndim - 1))


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_rounds_to_the_nearest_of_its_codes(name: str) -> None:
    w, format = weights(4, (3, 64)), format_of(name)
    quant = in_blocks(w, format, axis=0, summed=1)
    coded = coded_of(quant)
    zeros, factors = (spread(coded, table) for table in (coded.block_zeros, coded.block_table))
    codes = np.arange(-(2 ** (format.bits - 1)), 2 ** (format.bits - 1))
    grid = (codes - zeros[..., None]) * (factors * quant.scale[:, None])[..., None]
    least = np.abs(w[..., None] - grid).min(-1)
    np.testing.assert_allclose(np.abs(w - quant.dequantize()), least, rtol=0, atol=1e-6 * np.abs(w).max())


def spread(coded: Coded, table: NDArray[np.int32] | None) -> NDArray[np.float64]:
    assert table is not None and isinstance(coded.blocks, PerBlock)
    return table[coded.block_codes].repeat(coded.blocks.size, 1).astype(np.float64)


def test_zero_points_pay_where_groups_lie_to_one_side() -> None:
    w = np.abs(weights(5, (4, 128)))
    group, block = (in_blocks(w, format_of(f"int3:{kind}32"), 0, 1).dequantize() for kind in ("group", "block"))
    assert error(group, w) < 0.5 * error(block, w)


def test_channels_of_one_group_have_a_zero_point_of_their_own() -> None:
    quant = in_blocks(np.abs(weights(0, (5, 16))), format_of("int4:group32"), axis=0, summed=1)
    assert quant.coded is None and (quant.zero_point[[0, 3]] < 0).all()


@pytest.mark.parametrize("name", ["int8:group32", "e2m1:group32", "uint4:group32", "int4:group1"])
def test_what_is_no_group_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"groups have elements|symmetric around zero|a block has"):
        parse_tensor_format(name)
