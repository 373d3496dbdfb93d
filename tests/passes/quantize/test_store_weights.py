"""Weights of every format: their bytes in the file, what they stand for, their biases, and the way back from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from bevel.calib.formats.format import INT8, INT16, parse
from bevel.calib.formats.scheme import Scheme, TensorQuant
from bevel.calib.formats.tensor_format import BlockFormat
from bevel.calib.rounding.kernel_wise import ROUNDER as KERNEL_WISE
from bevel.passes.exchange.unpack_weights import unpack_weights
from bevel.passes.graph.quantizers import parameters
from bevel.passes.integerize.integer_nodes import stored_weight
from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import weight_format
from bevel.passes.quantize.store_weights import bias_scales, constants, quantized_operand, weight_grid

NAMES = (
    *("int8", "int6", "int5", "int4", "int3", "int2", "uint4", "ternary", "binary"),
    *("e2m1", "e2m3", "e3m2", "e4m3", "log4", "log5", "apot5k2"),
    *("mxfp4", "mxfp6", "mxfp6e3m2", "mxfp8", "mxint8", "nvfp4", "int4:block32", "int2:block16", "int4:group8"),
)
SHAPE = (16, 64, 3, 3)
MODEL = "c = Conv <pads = [1,1,1,1]> (x, w, b)\n y = Relu (c)"
WEIGHTS = "float[16,64,3,3] w, float[16] b"
X = "float[1,64,4,4] x"


def made_of(name: str, text: Any, stages: Any, **values: Any) -> Any:
    model = text(MODEL, inputs=X, weights=WEIGHTS, values=values)
    return stages(model, options=QuantizeOptions(weights=weight_format(name)))


def reals_of(model: onnx.ModelProto) -> np.ndarray[Any, Any]:
    """The weights of a QDQ model, as its integers stand for them."""
    graph = gs.import_onnx(model)
    unpack_weights(graph)
    (conv,) = (node for node in graph.nodes if node.op == "Conv")
    (dequantizer,) = conv.inputs[1].inputs
    given = parameters(dequantizer)
    assert given is not None
    found = stored_weight(dequantizer.inputs[0], given)
    assert found is not None
    reals: np.ndarray[Any, Any] = found.reals
    return reals


@pytest.mark.parametrize("name", NAMES)
def test_file_holds_the_bits_of_the_format_and_onnxruntime_reads_its_values(text: Any, stages: Any, name: str) -> None:
    format = weight_format(name)
    w = 0.2 * np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    made = made_of(name, text, stages, w=w)
    bits = format.stored_bits if isinstance(format, BlockFormat) else format.bits
    for model in (made.quantized, made.integer):
        stored = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
        assert stored <= w.size * bits / 8 + 2000
    expected = KERNEL_WISE(w, weight_grid(w, format, 0)).dequantize()
    np.testing.assert_allclose(reals_of(made.quantized), expected, rtol=2e-7)


@pytest.mark.parametrize("name", NAMES)
def test_quantized_model_comes_back_with_its_formats(text: Any, stages: Any, name: str) -> None:
    made = made_of(name, text, stages)
    again = stages(made.quantized)
    kept, found = (sorted(one.raw_data for one in model.graph.initializer) for model in (made.integer, again.integer))
    assert found == kept
    assert again.ops == made.ops
    sample = next(iter(made.extremes()))
    for name_, values in made.run(sample).items():
        np.testing.assert_array_equal(again.run(sample)[name_], values)


@pytest.mark.parametrize("name", ["e4m3", "nvfp4", "mxfp8"])
def test_biases_of_wide_weights_keep_their_precision(text: Any, stages: Any, name: str) -> None:
    b = np.linspace(-9, 9, 16).astype(np.float32)
    w = np.full(SHAPE, 1e-4, np.float32) * np.sign(np.random.default_rng(0).standard_normal(SHAPE))
    w[3] = 0
    made = made_of(name, text, stages, w=w, b=b)
    (port,) = made.program.inputs
    zero = np.full(port.shape, port.zero_point, port.dtype)
    (output,) = made.program.outputs
    codes = made.run({"x": zero})["y"][0, :, 1, 1]
    reals = (codes.astype(float) - output.zero_point) * output.scale
    np.testing.assert_allclose(reals, np.maximum(b, 0), atol=0.51 * output.scale)


def test_a_bias_scale_grows_by_powers_of_two_and_no_further_than_needed() -> None:
    scale = np.array([1e-12, 1e-12, 1e-3], np.float32)
    found = bias_scales(scale, np.array([1.0, 0.0, 5.0]))
    ratio = found / scale
    assert ratio[1:].tolist() == [1, 1] and np.log2(ratio[0]) == np.rint(np.log2(ratio[0]))
    assert 2**27 < 1.0 / found[0] <= 2**28


def test_blocks_run_along_the_inputs_of_a_layer() -> None:
    w = np.random.default_rng(0).standard_normal((64, 5)).astype(np.float32)
    grid = weight_grid(w, weight_format("mxfp4"), 1)  # [K, N], as Gemm has them
    assert grid.factors is not None and grid.factors.codes.shape == (2, 5) and grid.quant.scale.shape == (5,)


def test_constants_that_are_not_multiplied_and_summed_are_as_wide_as_the_result() -> None:
    values = np.linspace(-1, 1, 50).astype(np.float32)
    for result, dtype in ((INT16, np.int16), (INT8, np.int8), (parse("int4"), np.int8), (parse("e4m3"), np.int8)):
        quant = TensorQuant(
            Scheme(result, symmetric=True), np.float32(1), np.zeros((), Scheme(result, symmetric=True).dtype)
        )
        (codes, *_) = constants(quantized_operand(values, quant), "c")
        assert codes.values.dtype == dtype and len(np.unique(codes.values)) == 50
