"""Quantize and Dequantize equal stock onnxruntime on every float32 that could make a difference, without a libm."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.binary import elf
from bevel.backends.program.ops import dequantize, quantize
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.tir.builder import build
from bevel.backends.tir.kernels.quantize import float_parts
from bevel.backends.tir.raw_abi import c_source


def onnxruntime_result(operator: str, case: Quantize | Dequantize, x: np.ndarray[Any, Any]) -> Any:
    codes = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(case.dtype))
    element = (onnx.TensorProto.FLOAT, codes) if operator == "QuantizeLinear" else (codes, onnx.TensorProto.FLOAT)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["x", "scale", "zero_point"], ["y"])],
        operator,
        [onnx.helper.make_tensor_value_info("x", element[0], [case.size])],
        [onnx.helper.make_tensor_value_info("y", element[1], [case.size])],
        [
            onnx.numpy_helper.from_array(np.array(case.scale, np.float32), "scale"),
            onnx.numpy_helper.from_array(np.array(case.zero_point, case.dtype), "zero_point"),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


@pytest.mark.parametrize("case", list(quantize.cases()), ids=str)
def test_quantize_is_onnxruntimes_at_ties_bounds_subnormals_infinities_and_nan(case: Quantize) -> None:
    (x,) = case.example(np.random.default_rng(1))
    np.testing.assert_array_equal(case.reference(x), onnxruntime_result("QuantizeLinear", case, x))


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 2.0**-7, 1e-41])
def test_quantize_is_onnxruntimes_on_arbitrary_bits(scale: float) -> None:
    case = Quantize(1 << 16, float(np.float32(scale)), zero_point=5)
    x = np.random.default_rng(2).integers(0, 2**32, case.size, dtype=np.uint32).view(np.float32)
    np.testing.assert_array_equal(case.reference(x), onnxruntime_result("QuantizeLinear", case, x))


@pytest.mark.parametrize("case", list(dequantize.cases()), ids=str)
def test_dequantize_is_onnxruntimes(case: Dequantize) -> None:
    (x,) = case.example(np.random.default_rng(1))
    got = onnxruntime_result("DequantizeLinear", case, x)
    np.testing.assert_array_equal(case.reference(x).view(np.int32), got.view(np.int32))


@pytest.mark.parametrize("cpu", ["cortex_m0plus", "cortex_m4"])
def test_a_core_without_float_needs_the_compilers_library_and_nothing_else(cpu: str, tmp_path: Path) -> None:
    built = {
        "quantize": build(Quantize(16, float(np.float32(0.1)), zero_point=-3), "quantize"),
        "dequantize": build(Dequantize(16, float(np.float32(0.1)), zero_point=-3), "dequantize"),
    }
    (tmp_path / "k.c").write_text(c_source(built))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", f"-mcpu={cpu}"]
    subprocess.run([*command, "-O3", "-c", "k.c", "-o", "k.o"], cwd=tmp_path, check=True)
    names = {symbol.name for symbol in elf.read(tmp_path / "k.o").symbols if symbol.name}
    assert built.keys() <= names
    assert "__aeabi_fdiv" in names
    assert not names & {"rintf", "nearbyintf", "roundf", "roundevenf", "lrintf", "fminf", "fmaxf", "ldexpf"}


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False, width=32))
def test_a_scale_is_the_exact_product_of_literals_of_seven_digits(scale: float) -> None:
    mantissa, factors = float_parts(scale)
    product = np.float32(mantissa)
    for factor in factors:
        assert float(f"{factor:.6e}") == factor
        product = np.float32(product * np.float32(factor))
    assert 0 < mantissa < 2**24
    assert product == scale


@pytest.mark.parametrize("scale", [0.1, 0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_that_is_no_positive_float32_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="positive float32"):
        Quantize(1, scale, 0)
