"""`--activations float32`: weights alone are quantized, on targets that have floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel import UserError, optimize
from bevel.tools.command.measure import measure_bundle

MODEL = """<ir_version: 10, opset_import: ["" : 21]>
m (float[1,64] x, float[64,48] w1, float[48] b1, float[48,8] w2) => (float[1,8] y)
{ h = Gemm (x, w1, b1) r = Relu (h) y = MatMul (r, w2) }"""
SAMPLES = {"x": np.random.default_rng(0).standard_normal((16, 1, 64)).astype(np.float32)}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    made, rng = onnx.parser.parse_model(MODEL), np.random.default_rng(0)
    for value in list(made.graph.input)[1:]:
        shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        array = rng.standard_normal(shape).astype(np.float32) / 8
        made.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del made.graph.input[1:]
    return made


@pytest.mark.filterwarnings("ignore::bevel.tools.run.api.ResultWarning")
def test_the_library_holds_codes_and_computes_the_model(model: onnx.ModelProto, tmp_path: Path) -> None:
    report = optimize(
        model,
        target="host",
        calib=SAMPLES,
        eval=SAMPLES,
        output=tmp_path / "out",
        weights="int4:block32",
        activations="float32",
    )
    kernels = [node.kernel for node in report.nodes if node.kernel is not None]
    assert sum("NBits" in one for one in kernels) == 2
    found = report.measurement
    assert found is not None and found.mismatches == 0 < found.rounded and found.spent
    assert report.library is not None and report.library.far == 0
    assert report.library.integer_db is None or report.library.integer_db > 100
    assert report.size.product["weights"] < 0.2 * 4 * (64 * 48 + 48 * 8) + 1024
    formats = [node.format for node in report.nodes if "weights" in (node.format or "")]
    assert formats == ["int4:block32 weights, float32"] * 2


@pytest.mark.filterwarnings("ignore::bevel.tools.run.api.ResultWarning")
def test_a_lone_product_is_measured_again_by_its_reference(tmp_path: Path) -> None:
    """Nothing but products by codes stands in it, which onnxruntime sums in another order."""
    text = '<ir_version: 10, opset_import: ["" : 21]> m (float[4,256] x, float[256,64] w) => (float[4,64] y) '
    alone, rng = onnx.parser.parse_model(text + "{ y = MatMul (x, w) }"), np.random.default_rng(0)
    weights = rng.standard_normal((256, 64)).astype(np.float32)
    alone.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    del alone.graph.input[1:]
    samples, folder = {"x": rng.standard_normal((4, 4, 256)).astype(np.float32)}, tmp_path / "out"
    options = {"recipe": "weight-only", "rounding": "nearest", "bias_correction": False}
    report = optimize(alone, target="host", calib=samples, output=folder, **options)
    assert report.measurement is not None and report.measurement.mismatches == 0 < report.measurement.rounded
    _, again, right = measure_bundle(folder, None, None, 4)
    assert right and (again.mismatches, again.rounded) == (0, report.measurement.rounded)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"target": "cortex-m7"},
            "cortex-m7 runs integers only: --activations float32 needs a CPU, such as --target host",
        ),
        ({"target": "artix7-35"}, "artix7-35 runs integers only"),
        ({"transform": "smooth"}, "quantizes weights alone, and --transform smooth is for integer activations"),
        ({"range": "minmax"}, "--range is for integer activations"),
        ({"inputs": "quantized"}, "--inputs quantized is for integer activations"),
        ({"max_flash": "64k"}, "a budget is for integer activations"),
        ({"recipe": "smoothquant"}, "pass smooth of recipe smoothquant is for integer activations"),
        ({"weights": "mxfp4"}, "beside float32 activations weights can be int2 to int8"),
    ],
)
def test_what_has_no_float_activations_is_refused(
    model: onnx.ModelProto, tmp_path: Path, options: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        optimize(
            model, calib=SAMPLES, output=tmp_path / "out", **{"target": "host", "activations": "float32"} | options
        )
