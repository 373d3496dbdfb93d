"""What onnxruntime's default rewrites would break is written so that they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel import optimize
from bevel.passes.exchange.keep_loadable import keep_loadable

DILATED = "MaxPool <kernel_shape = [3, 1], dilations = [2, 1], strides = [2, 2], pads = [2, 0, 2, 0], ceil_mode = 1>"


@pytest.mark.filterwarnings("ignore::bevel.ResultWarning")
@pytest.mark.parametrize(
    "body",
    [
        f"a = Conv (x, w)\n b = Relu (a)\n c = Abs (b)\n y = {DILATED} (c)",
        f"a = Conv (x, w)\n b = Relu (a)\n c = Neg (b)\n d = {DILATED} (c)\n y = CumSum (d, one)",
    ],
)
def test_an_integer_model_with_float_nodes_opens_in_stock_onnxruntime(body: str, text: Any, tmp_path: Path) -> None:
    model = text(body, "float[1,2,8,8] x", "float[] y", "float[4,2,1,1] w, int64 one", {"one": 1})
    samples = {"x": np.random.default_rng(0).normal(size=(8, 1, 2, 8, 8)).astype(np.float32)}
    report = optimize(model, target="host", calib=samples, output=tmp_path / "out", name="m", rounding="nearest")
    assert report.measurement is not None or report.library is not None
    integer = onnx.load(tmp_path / "out" / "integer.onnx")
    assert any(node.domain == "bevel" for node in integer.graph.node)
    session = ort.InferenceSession(tmp_path / "out" / "integer.onnx", providers=["CPUExecutionProvider"])
    assert np.isfinite(session.run(["y"], {"x": samples["x"][0]})[0]).all()


OPEN = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[1,4,6,6] x) => (float[1,144] y) <float s = {0.1}, TYPE z = {ZERO}> {
  q = QuantizeLinear (x, s, z)
  d = DequantizeLinear (q, s, z)
  y = READER (d)
}
"""


@pytest.mark.parametrize(
    ("dtype", "zero", "reader", "opset"),
    [("int8", -128, "Flatten", 20), ("int8", -128, "Relu", 21), ("int16", 0, "Flatten", 21)],
)
def test_only_where_a_rewrite_breaks_a_model_it_has_an_older_opset(
    dtype: str, zero: int, reader: str, opset: int
) -> None:
    spelled = OPEN.replace("TYPE", dtype).replace("ZERO", str(zero)).replace("READER", reader)
    model = onnx.parser.parse_model(spelled)
    keep_loadable(model)
    assert [entry.version for entry in model.opset_import] == [opset]
