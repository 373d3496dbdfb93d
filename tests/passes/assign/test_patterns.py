"""A TOML file fixes formats by patterns on names; what matches nothing is refused with what there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.assign.patterns import Pattern, apply_patterns, read_patterns
from bevel.passes.quantize.formats import activation_format, weight_format

MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[1,3,6,6] image) => (float[1,4,6,6] y)
{
    [conv_1] a = Conv <kernel_shape = [1,1]> (image, first)
    [conv_2] b = Conv <kernel_shape = [1,1]> (a, second)
    [softened] y = Sigmoid (b)
}
"""
INT4, INT6 = weight_format("int4"), activation_format("int6")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    parsed = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(MODEL))
    for name, shape in (("first", (4, 3, 1, 1)), ("second", (4, 4, 1, 1))):
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    for node, name in zip(parsed.graph.node, ("conv_1", "conv_2", "softened"), strict=True):
        node.name = name
    return onnx.shape_inference.infer_shapes(parsed)


def test_later_tables_win_field_by_field(model: onnx.ModelProto, tmp_path: Path) -> None:
    file = tmp_path / "formats.toml"
    file.write_text(
        '[[node]]\nmatch = "conv_*"\nweights = "int4"\nactivations = "int6"\n'
        '[[node]]\nmatch = "*_2"\nweights = "int8"\n'
    )
    found = apply_patterns(read_patterns(file), model)
    assert {name: one.weights and one.weights.name for name, one in found.items()} == {
        "conv_1": "int4",
        "conv_2": "int8",
    }
    assert all(one.activations == INT6 for one in found.values())


def test_a_pattern_may_name_an_input_and_nodes_without_weights_beside_others(model: onnx.ModelProto) -> None:
    found = apply_patterns([Pattern("image", None, INT6), Pattern("*", INT4)], model)
    assert found["image"].activations == INT6
    assert found["conv_1"].weights == INT4 and found["softened"].weights is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [(Pattern("dense*", INT4), "conv_1, conv_2, softened"), (Pattern("softened", INT4), "those are conv_1, conv_2")],
)
def test_a_pattern_without_a_node_is_refused_with_the_names(
    model: onnx.ModelProto, pattern: Pattern, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        apply_patterns([pattern], model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds nothing"),
        ("[[node]\n", "is not TOML"),
        (f"a = {'[' * 3000}{']' * 3000}", "is not TOML"),
        ("[[nodes]]\nmatch = 'a'\n", "holds nodes"),
        ("[[node]]\nmatch = 'a'\n", "needs match and one of"),
        ("[[node]]\nweights = 'int4'\nactivations = 'int4'\n", "needs match"),
        ("[[node]]\nmatch = 'a'\nweight = 'int4'\n", "has weight; it takes match, weights, activations"),
        ("[[node]]\nmatch = 'a'\nweights = 4\n", "values that are not text"),
        ("[[node]]\nmatch = 'a'\nweights = 'int99'\n", "int99"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "formats.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        read_patterns(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: No such file"):
        read_patterns(tmp_path / "none.toml")
