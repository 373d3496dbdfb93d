"""`--calib-select` takes as many of the user's samples as were asked for, by what lies before the last product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel import models, optimize
from bevel.calib.data.dataset import open_dataset
from bevel.calib.errors import UserError
from bevel.calib.observe.observe import model_inputs
from bevel.passes.canonicalize import canonicalize
from bevel.tools.run.select import MOST, deep_tensor, vector_of, vectors_of

NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,4] x) => (float[1,3] y)
{
    h = Gemm (x, w)
    r = Relu (h)
    y = Gemm (r, v)
}
"""


def test_what_the_last_product_reads_tells_samples_apart() -> None:
    model = onnx.parser.parse_model(NET)
    w, v = np.arange(20, dtype=np.float32).reshape(4, 5) - 8, np.ones((5, 3), np.float32)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(one, name) for name, one in (("w", w), ("v", v)))
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    graph, _ = canonicalize(model)
    assert deep_tensor(graph) == ("r", -1)
    np.testing.assert_allclose(
        vectors_of(graph, open_dataset({"x": x}, model_inputs(model))), np.maximum(x @ w, 0), 1e-5
    )


def test_large_tensors_are_told_by_the_means_of_their_channels() -> None:
    image = np.random.default_rng(2).standard_normal((1, 3, 20, 20)).astype(np.float32)
    assert image.size > MOST
    np.testing.assert_allclose(vector_of(image, 1), image.mean((0, 2, 3)), atol=1e-6)


def test_a_run_takes_the_samples_that_a_rule_chose_and_says_which(tmp_path: Path) -> None:
    report = optimize(
        models.path("mlp"),
        target="host",
        device="none",
        calib=models.data("calib"),
        calib_samples=24,
        calib_select="filtered",
        output=tmp_path / "out",
    )
    told = [note for node in report.nodes for note in node.notes]
    (note,) = [one for one in told if one.text.startswith("24 of ")]
    assert "chosen by filtered" in note.text


@pytest.mark.parametrize("given", [{}, {"calib_samples": 8, "calib": "random"}, {"calib_samples": 0}])
def test_without_samples_to_choose_from_it_is_refused(given: dict[str, object], tmp_path: Path) -> None:
    common = {"target": "host", "device": "none", "calib": models.data("calib"), "output": tmp_path / "out"}
    with pytest.raises(UserError, match="calib-s"):
        optimize(models.path("mlp"), calib_select="random", **{**common, **given})
