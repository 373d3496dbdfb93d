"""Models of older opsets compute after conversion what they computed before."""

import numpy as np
import onnx
import pytest

from bevel.calib.errors import UserError
from bevel.passes.canonicalize.convert_opset import OPSET, convert_opset
from bevel.passes.canonicalize.evaluate import check_equivalence, random_inputs

IMAGE = "float[2,4,6,6] x"


def converted(model: onnx.ModelProto) -> list[str]:
    result = convert_opset(model)
    assert result.opset_import[0].version == OPSET
    check_equivalence(model, result, [random_inputs(model, seed) for seed in range(2)])
    return [node.op_type for node in result.graph.node]


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 3, 1.5], [1, 1, 2.4, 1], [1, 1, 0.5, 0.7]])
def test_resize_reads_where_it_read(model, mode, scales) -> None:
    values = {"s": scales}
    converted(model(f'y = Resize <mode = "{mode}"> (x, s)', IMAGE, weights="float[4] s", values=values, opset=10))
    if min(scales) >= 1:
        converted(model(f'y = Upsample <mode = "{mode}"> (x, s)', IMAGE, weights="float[4] s", values=values, opset=9))
        converted(model(f'y = Upsample <mode = "{mode}", scales = {list(map(float, scales))}> (x)', IMAGE, opset=7))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("opset", [7, 10])
def test_pad_keeps_its_mode_and_value(model, mode, opset) -> None:
    pads = "[0,0,1,2,0,0,1,0]"
    converted(model(f'y = Pad <mode = "{mode}", pads = {pads}, value = 0.5> (x)', IMAGE, opset=opset))


@pytest.mark.parametrize("axis", ["", "<axis = 0>", "<axis = 2>", "<axis = 3>"])
@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax", "Hardmax"])
def test_functions_of_flattened_dimensions_stay_that(model, operator, axis) -> None:
    converted(model(f"y = {operator} {axis} (x)", IMAGE, opset=11))


def test_group_normalization_by_groups_is_one_of_instances(model) -> None:
    body = "y = GroupNormalization <num_groups = 2> (x, s, b)"
    operators = converted(model(body, IMAGE, weights="float[2] s, float[2] b", opset=18))
    assert "InstanceNormalization" in operators


@pytest.mark.parametrize("opset", [7, 10])
def test_a_mask_that_means_nothing_is_left_out_or_refused(model, opset) -> None:
    kind = "float" if opset == 7 else "bool"
    assert "Dropout" in converted(model("y, mask = Dropout (x)", IMAGE, opset=opset))
    with pytest.raises(UserError, match="mask means nothing in inference"):
        convert_opset(model("y, mask = Dropout (x)", IMAGE, f"float[] y, {kind}[] mask", opset=opset))


def test_normalization_of_each_element_is_a_product_and_a_sum(model) -> None:
    each = "float[4,6,6] s, float[4,6,6] b, float[4,6,6] m, float[4,6,6] v"
    subject = model(
        "y = BatchNormalization <spatial = 0> (x, s, b, m, v)",
        IMAGE,
        weights=each,
        values={"v": np.linspace(0.1, 2, 144).reshape(4, 6, 6)},
        opset=7,
    )
    assert converted(subject) == ["Add", "Sqrt", "Div", "Sub", "Mul", "Add"]


@pytest.mark.parametrize("opset", [7, 13])
def test_normalization_that_trains_is_refused_by_name(model, opset) -> None:
    body = "y, p, q, r, t = BatchNormalization (x, s, s, s, s)"
    with pytest.raises(UserError, match=r"\(BatchNormalization\): before opset 14 more than one output means training"):
        convert_opset(model(body, IMAGE, weights="float[4] s", values={"s": [0.5, 1, 2, 3]}, opset=opset))


def test_the_model_itself_stays_as_it_was(model) -> None:
    subject = model('y = Pad <mode = "edge", pads = [0,0,1,1,0,0,1,1], value = 1.0> (x)', IMAGE, opset=9)
    before = subject.SerializeToString()
    convert_opset(subject)
    assert subject.SerializeToString() == before


def test_a_domain_without_an_import_is_imported(model) -> None:
    subject = model("g = com.microsoft.Gelu (x)\n y = Relu (g)", IMAGE, opset=11)
    del subject.opset_import[1:]
    assert "Gelu" in converted(subject)


def test_an_operator_that_onnx_gave_up_is_named(model) -> None:
    subject = model("y = Affine <alpha = 2.0> (x)", IMAGE, opset=8)
    subject.graph.node[0].name = "scaling"
    with pytest.raises(UserError, match=r"node scaling \(Affine\): opset 8 of ONNX has no such operator"):
        convert_opset(subject)
