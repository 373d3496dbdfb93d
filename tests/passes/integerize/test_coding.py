"""What the integers of an activation mean, for every quantizer that can be compiled."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.calib.errors import UserError
from bevel.passes.integerize.coding import QuantizerCoding, coding
from bevel.passes.operators.formats.quantize_float import quantize_float

X = gs.Variable("x", np.float32, [4])


def linear(zero_point: np.ndarray, scale: float = 0.5) -> gs.Node:
    constants = [gs.Constant("s", np.array(scale, np.float32)), gs.Constant("z", zero_point)]
    return gs.Node("QuantizeLinear", "q", {}, [X, *constants], [gs.Variable("c", zero_point.dtype, [4])])


@pytest.mark.parametrize(
    ("kind", "zero_point", "expected"),
    [
        (np.int8, -3, QuantizerCoding(0.5, -3, "int8", -128, 127)),
        (np.uint8, 125, QuantizerCoding(0.5, -3, "int8", -128, 127)),
        (np.int16, -300, QuantizerCoding(0.5, -300, "int16", -32768, 32767)),
        (np.uint16, 32468, QuantizerCoding(0.5, -300, "int16", -32768, 32767)),
    ],
)
def test_integers_are_codes_and_unsigned_ones_are_moved(kind: type, zero_point: int, expected: QuantizerCoding) -> None:
    assert coding(linear(np.array(zero_point, kind))) == expected


def test_float8_is_its_steps() -> None:
    found = coding(linear(np.zeros((), ml_dtypes.float8_e4m3fn)))
    assert found == QuantizerCoding(2.0**-10, 0, "int32", -229376, 229376, FloatSteps(3, 229376))


def test_a_function_is_its_steps_and_so_is_what_ends_them() -> None:
    codes, y = gs.Variable("c", np.int16, [4]), gs.Variable("y", np.float32, [4])
    quantizer = quantize_float("q", X, 0.25, codes, FloatSteps(2, 448))
    constants = [gs.Constant("s", np.array(0.25, np.float32)), gs.Constant("z", np.zeros((), np.int16))]
    end = gs.Node("DequantizeLinear", "d", {}, [codes, *constants], [y])
    assert coding(quantizer) == coding(end) == QuantizerCoding(0.25, 0, "int16", -448, 448, FloatSteps(2, 448))


def test_sums_of_a_minifloat_have_bits_behind_the_point() -> None:
    scale, output = QuantizerCoding(0.25, 0, "int16", -448, 448, FloatSteps(2, 448)).unrounded
    assert (scale * 2**6, output.low, output.high, output.dtype) == (0.25, -448 << 6, 448 << 6, "int16")
    scale, output = QuantizerCoding(0.25, 0, "int32", -229376, 229376, FloatSteps(3, 229376)).unrounded
    assert (scale * 2**12, output.high, output.dtype) == (0.25, 229376 << 12, "int32")


@pytest.mark.parametrize(
    ("zero_point", "found"),
    [
        (np.zeros((), ml_dtypes.float8_e5m2), "to float8_e5m2; int8"),
        (np.zeros((), np.int32), "to int32; int8"),
        (np.array(1, ml_dtypes.float8_e4m3fn), "to float8_e4m3fn; int8"),
    ],
)
def test_other_types_are_refused_by_name(zero_point: np.ndarray, found: str) -> None:
    with pytest.raises(UserError, match=f"node q quantizes an activation {found}"):
        coding(linear(zero_point))


def test_a_computed_scale_is_refused_by_name() -> None:
    node = linear(np.zeros((), np.int16))
    node.inputs[1] = gs.Variable("s", np.float32, [])
    with pytest.raises(UserError, match="node q computes its scale"):
        coding(node)
