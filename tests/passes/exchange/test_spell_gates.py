"""Parameters that a recurrent node leaves out are written out, and none that it has is touched."""

from __future__ import annotations

import onnx
import onnx.parser
import pytest
from onnx import helper

from bevel.passes.exchange.spell_gates import spell_gates

ALPHA, BETA = "activation_alpha", "activation_beta"


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ('activations = ["LeakyRelu"]', {ALPHA: [0.01]}),
        ('activations = ["elu"]', {ALPHA: [1.0]}),
        ('activations = ["HardSigmoid"]', {ALPHA: [0.2], BETA: [0.5]}),
        ('activations = ["HardSigmoid"], activation_alpha = [0.3]', {ALPHA: [0.3], BETA: [0.5]}),
        ('activations = ["LeakyRelu"], activation_alpha = [0.3]', {ALPHA: [0.3]}),
        ('activations = ["ThresholdedRelu"]', {ALPHA: [0.0]}),
        ('activations = ["Affine"]', {ALPHA: [0.0], BETA: [0.0]}),
        ('activations = ["Relu"]', {}),
        ('activations = ["Unknown"]', {}),
        ("clip = 1.0", {}),
    ],
)
def test_what_is_left_out_is_what_onnxruntime_takes(attributes: str, wanted: dict[str, list[float]]) -> None:
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[5,1,3] x, float[1,4,3] w, float[1,4,4] r) => (float[5,1,1,4] y) {{
      y = RNN <hidden_size = 4, {attributes}> (x, w, r)
    }}"""
    model = onnx.parser.parse_model(text)
    notes = spell_gates(model)
    found = {one.name: helper.get_attribute_value(one) for one in model.graph.node[0].attribute}
    assert {name: pytest.approx(found[name]) for name in (ALPHA, BETA) if name in found} == wanted
    assert len(notes) == len([name for name in wanted if name not in attributes])
    assert spell_gates(model) == []
