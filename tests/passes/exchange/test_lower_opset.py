"""A newer opset becomes an older one only where every operator means the same there."""

import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.exchange.lower_opset import lower_opset

NEWEST = onnx.defs.onnx_opset_version()


def lowered(body: str, version: int = NEWEST, outputs: str = "float[1,4] y") -> int:
    text = f'<ir_version: 10, opset_import: ["" : {version}]> g (float[1,4] x, float[4] s) => ({outputs}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    lower_opset(model, 21)
    onnx.checker.check_model(model, full_check=True)
    return int(model.opset_import[0].version)


@pytest.mark.parametrize(
    "body", ["y = Relu (x)", "y = Identity (x)", "h = Shape (x) y = Reshape (x, h)", "y = Cast <to = 1> (x)"]
)
def test_operators_that_only_take_more_types_now_come_down(body) -> None:
    assert lowered(body) == 21


def test_an_operator_that_is_new_holds_the_opset() -> None:
    assert lowered("y = RMSNormalization (x, s)") == 23


def test_an_attribute_that_is_new_holds_the_opset() -> None:
    added = "<axis = 0, output_dtype = 3>"
    text = f"q = QuantizeLinear {added} (x, u) y = DequantizeLinear (q, u)"
    assert lowered(f"u = ReduceMean <keepdims = 0> (s) {text}", 23) == 21
    assert (
        lowered(
            "u = ReduceMean <keepdims = 0> (s) q = QuantizeLinear <precision = 1> (x, u) y = DequantizeLinear (q, u)",
            23,
        )
        == 23
    )


def test_an_older_opset_stays() -> None:
    assert lowered("y = Relu (x)", 17) == 17


def test_an_opset_that_onnx_does_not_know_is_refused() -> None:
    with pytest.raises(UserError, match=f"opset {NEWEST + 1} is newer than onnx .* knows"):
        lowered("y = Relu (x)", NEWEST + 1)
