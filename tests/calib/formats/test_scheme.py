"""Quantized tensors against onnxruntime's QuantizeLinear and DequantizeLinear."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from bevel.calib.formats.format import INT8, INT16, UINT8, UINT16, IntFormat
from bevel.calib.formats.scheme import (
    Granularity,
    PerBlock,
    PerChannel,
    PerTensor,
    Scheme,
    TensorQuant,
    parameter_shape,
)

TYPES = {INT8: TensorProto.INT8, UINT8: TensorProto.UINT8, INT16: TensorProto.INT16, UINT16: TensorProto.UINT16}


def onnxruntime_results(x: np.ndarray, quant: TensorQuant) -> list[np.ndarray]:
    """[codes, reals] of QuantizeLinear and DequantizeLinear."""
    attributes: dict[str, int] = {}
    match quant.scheme.granularity:
        case PerChannel(axis):
            attributes = {"axis": axis}
        case PerBlock(axis, size):
            attributes = {"axis": axis, "block_size": size}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [
            helper.make_tensor_value_info("q", TYPES[quant.scheme.format], x.shape),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape),
        ],
        [onnx.numpy_helper.from_array(quant.scale, "s"), onnx.numpy_helper.from_array(quant.zero_point, "z")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString())
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("format", TYPES, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(0), PerChannel(1), PerChannel(-1), PerBlock(1, 4), PerBlock(2, 3)], ids=str
)
def test_codes_and_reals_are_those_of_onnxruntime(format: IntFormat, granularity: Granularity) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((3, 8, 6)) * 40).astype(np.float32)
    # onnxruntime's blocked QuantizeLinear casts to int32 before it saturates, so quotients stay below 2**31 there.
    huge = 1e5 if isinstance(granularity, PerBlock) else 3.4e38
    x[0, :, 0] = [0.125, 0.375, -0.125, -0.375, 1e5, -1e5, huge, -0.0]  # ties at a scale of 0.25, and saturation
    shape = parameter_shape(x.shape, granularity)
    scale = rng.choice([0.25, 0.1, 0.0123, 1e-3], shape).astype(np.float32)
    zero_point = rng.integers(format.low, format.high + 1, shape).astype(format.dtype)
    quant = TensorQuant(Scheme(format, granularity), scale, zero_point)
    codes, reals = onnxruntime_results(x, quant)
    assert quant.quantize(x).dtype == codes.dtype
    np.testing.assert_array_equal(quant.quantize(x), codes)
    np.testing.assert_array_equal(quant.fake(x), reals)


def test_the_quotient_is_rounded_to_float32_before_it_is_rounded_to_a_code() -> None:
    x = (np.arange(-100, 100, dtype=np.float32) * np.float32(0.1) + np.float32(0.05)).astype(np.float32)
    quant = TensorQuant(Scheme(INT8), np.array(0.1, np.float32), np.array(3, np.int8))
    np.testing.assert_array_equal(quant.quantize(x), onnxruntime_results(x, quant)[0])


def test_a_last_block_may_be_short() -> None:
    scheme = Scheme(INT8, PerBlock(0, 2), symmetric=True)
    quant = TensorQuant(scheme, np.array([1, 10], np.float32), np.zeros(2, np.int8))
    assert quant.quantize(np.array([3, 4, 50], np.float32)).tolist() == [3, 4, 5]


def test_restricted_codes_can_be_negated() -> None:
    scheme = Scheme(INT8, symmetric=True, restricted=True)
    quant = TensorQuant(scheme, np.array(1, np.float32), np.array(0, np.int8))
    assert quant.quantize(np.array([-300, 300], np.float32)).tolist() == [-127, 127]


@pytest.mark.parametrize(
    ("scale", "zero_point", "reason"),
    [
        (np.array(0, np.float32), np.array(0, np.int8), "above 0"),
        (np.array(np.nan, np.float32), np.array(0, np.int8), "finite"),
        (np.array(1, np.float64), np.array(0, np.int8), "float32"),
        (np.array(1, np.float32), np.array([0], np.int8), "cannot be"),
        (np.array(1, np.float32), np.array(0, np.int32), "cannot be"),
    ],
)
def test_numbers_that_quantize_nothing_are_refused(scale: np.ndarray, zero_point: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TensorQuant(Scheme(INT8), scale, zero_point)


def test_scales_of_another_tensor_are_refused() -> None:
    quant = TensorQuant(Scheme(INT8, PerChannel(0)), np.ones(3, np.float32), np.zeros(3, np.int8))
    with pytest.raises(ValueError, match=r"parameters \(4,\), not \(3,\)"):
        quant.quantize(np.zeros((4, 2), np.float32))


def test_restricted_without_symmetric_is_refused() -> None:
    with pytest.raises(ValueError, match="symmetric and signed"):
        Scheme(UINT8, symmetric=True, restricted=True)


def test_equal_numbers_make_equal_quantizations() -> None:
    def make(scale: float) -> TensorQuant:
        return TensorQuant(Scheme(INT8), np.array(scale, np.float32), np.array(0, np.int8))

    assert make(1) == make(1) and hash(make(1)) == hash(make(1))
    assert make(1) != make(2)
