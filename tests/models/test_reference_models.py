"""The committed networks and arrays are what models/README.md says they are."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bevel.calib.errors import UserError
from bevel.models import data, digits, names, path, splits
from bevel.models.__main__ import row

README = (Path(__file__).parents[2] / "models" / "README.md").read_text()
NAMES = ("lstm", "mlp", "mobilenet", "resnet8", "rows", "vit")
MEGABYTE = 1_000_000


def recorded(name: str) -> tuple[int, int]:
    """The README's count of correct samples, and of samples."""
    found = re.search(rf"^\| `{name}` \|.*\| (\d+) of (\d+) = ", README, re.MULTILINE)
    assert found, f"README.md has no accuracy of {name}"
    return int(found[1]), int(found[2])


def operators(name: str) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path(name)).graph.node)


def images(split: str) -> set[bytes]:
    return {image.tobytes() for image in digits.load(split).image}


def test_folder_holds_the_six_networks_and_both_splits() -> None:
    assert names() == NAMES
    assert splits() == ("calib", "eval")


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match="no model 'resnet9'; known models: decoder, lstm, mlp, mobilenet, resnet8, rows, vit"
    ):
        path("resnet9")
    with pytest.raises(UserError, match="no data 'test'; known data: calib, eval"):
        data("test")


@pytest.mark.parametrize("name", NAMES)
def test_file_is_valid_and_under_a_megabyte(name: str) -> None:
    assert path(name).stat().st_size < MEGABYTE
    onnx.checker.check_model(onnx.load(path(name)), full_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_is_the_readme_s_within_one_sample(name: str) -> None:
    samples = digits.load("eval")
    right, total = recorded(name)
    assert total == len(samples.y)
    assert right / total >= 0.97
    assert abs(digits.correct(path(name), samples) - right) <= 1  # float sums differ in order from CPU to CPU


@pytest.mark.parametrize("name", NAMES)
def test_readme_has_the_row_that_the_command_prints(name: str) -> None:
    name_and_sizes = row(name, digits.load("eval")).rsplit("|", 2)[0]
    assert name_and_sizes in README


@pytest.mark.parametrize("name", NAMES)
def test_every_network_has_the_same_ports_and_an_open_batch(name: str) -> None:
    session = ort.InferenceSession(path(name), providers=["CPUExecutionProvider"])
    ports = [(port.name, port.type, port.shape) for port in (*session.get_inputs(), *session.get_outputs())]
    assert ports == [
        ("image", "tensor(float)", ["batch", 1, 8, 8]),
        ("logits", "tensor(float)", ["batch", 10]),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_logits_do_not_depend_on_the_batch_they_came_in(name: str) -> None:
    session = ort.InferenceSession(path(name), providers=["CPUExecutionProvider"])
    image = digits.load("eval").image[:8]
    (together,) = session.run(None, {"image": image})
    alone = np.concatenate([session.run(None, {"image": one[np.newaxis]})[0] for one in image])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-4)  # logits are below 10: some 100 float32 roundings


@pytest.mark.parametrize("name", NAMES)
def test_file_names_no_folder_of_the_machine_that_wrote_it(name: str) -> None:
    assert b"site-packages" not in path(name).read_bytes()


def test_mobilenet_keeps_batchnorm_after_each_convolution_and_relu6() -> None:
    model = onnx.load(path("mobilenet"))
    makers = {output: node for node in model.graph.node for output in node.output}
    batchnorms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert len(batchnorms) == 11
    assert {makers[node.input[0]].op_type for node in batchnorms} == {"Conv"}
    assert {helper.get_node_attr_value(node, "training_mode") for node in batchnorms} == {0}
    assert operators("mobilenet")["Clip"] == 11


def test_mobilenet_has_depthwise_convolutions() -> None:
    convolutions = [node for node in onnx.load(path("mobilenet")).graph.node if node.op_type == "Conv"]
    groups = Counter(helper.get_node_attr_value(node, "group") for node in convolutions)
    assert groups == {1: 6, 16: 1, 32: 1, 64: 2, 128: 1}


def test_exporter_of_the_past_computes_shapes_and_the_others_do_not() -> None:
    assert [operators(name)["Shape"] for name in NAMES] == [2, 0, 1, 0, 0, 7]


def test_vit_has_a_class_token_heads_and_norms() -> None:
    found = operators("vit")
    assert (found["Expand"], found["Softmax"], found["LayerNormalization"], found["Erf"]) == (1, 2, 5, 2)
    weights = {one.name for one in onnx.load(path("vit")).graph.initializer}
    products = [node for node in onnx.load(path("vit")).graph.node if node.op_type == "MatMul"]
    assert sum(not weights.intersection(node.input) for node in products) == 4  # scores, and what they weigh


def test_lstm_begins_with_one_tensor_of_zeros_and_reads_the_last_step() -> None:
    found = operators("lstm")
    assert (found["LSTM"], found["Transpose"], found["ConstantOfShape"], found["Gather"]) == (1, 2, 1, 2)
    (node,) = (node for node in onnx.load(path("lstm")).graph.node if node.op_type == "LSTM")
    assert node.input[5] == node.input[6] and not node.input[4]


def test_rows_are_padded_in_their_columns_alone() -> None:
    convolutions = [node for node in onnx.load(path("rows")).graph.node if node.op_type == "Conv"]
    assert [helper.get_node_attr_value(node, "pads") for node in convolutions] == [[0, 1, 0, 1], [0, 1, 0, 1], [0] * 4]
    assert operators("rows")["ReduceMean"] == 1


def test_resnet8_adds_one_identity_and_two_convolved_shortcuts() -> None:
    assert operators("resnet8")["Add"] == 3
    kernels = Counter(
        tuple(helper.get_node_attr_value(node, "kernel_shape"))
        for node in onnx.load(path("resnet8")).graph.node
        if node.op_type == "Conv"
    )
    assert kernels == {(3, 3): 7, (1, 1): 2}


def test_mlp_spells_its_layers_in_three_ways() -> None:
    assert [node.op_type for node in onnx.load(path("mlp")).graph.node] == [
        *("Flatten", "Gemm", "Relu"),
        *("MatMul", "Add", "Relu"),
        "Gemm",
    ]


@pytest.mark.parametrize(("split", "count"), [("calib", 256), ("eval", 500)])
def test_arrays_fit_the_networks(split: str, count: int) -> None:
    samples = digits.load(split)
    assert (str(samples.image.dtype), samples.image.shape) == ("float32", (count, 1, 8, 8))
    assert (str(samples.y.dtype), samples.y.shape) == ("int64", (count,))
    assert set(samples.y.tolist()) == set(range(10))
    assert np.isfinite(samples.image).all()
    assert data(split).stat().st_size < 400_000


def test_range_is_real_valued_and_not_symmetric() -> None:
    image = digits.load("calib").image
    assert (round(float(image.min()), 4), round(float(image.max()), 4)) == (-0.8119, 1.8453)


def test_no_sample_is_in_both_splits() -> None:
    assert not images("calib") & images("eval")


def test_arrays_are_the_cut_of_scikit_learn_s_digits() -> None:
    pytest.importorskip("sklearn")
    cut = digits.cut()
    for split in splits():
        np.testing.assert_array_equal(digits.load(split).image, cut[split].image)
        np.testing.assert_array_equal(digits.load(split).y, cut[split].y)
    trained_on = {image.tobytes() for image in cut["train"].image}
    assert len(cut["train"].y) == 1297
    assert images("calib") <= trained_on
    assert not images("eval") & trained_on


def test_moving_an_image_fills_in_blank_paper() -> None:
    image: NDArray[Any] = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    moved = digits.moved(image, 1, -1)
    assert moved[0, 0].tolist() == [[0, 0, 0], [1, 2, 0], [4, 5, 0]]


def test_a_missing_training_package_is_one_line_that_names_the_extra() -> None:
    with pytest.raises(UserError, match=r"^no_such_package is not installed .*pip install 'bevel\[train\]'.*$"):
        digits.optional("no_such_package.nn")


def test_a_script_ends_the_user_s_mistake_in_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("torch is not installed")

    with pytest.raises(SystemExit) as stop:
        digits.script(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: torch is not installed\n"


def test_source_paths_are_dropped_and_nothing_else() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], "relu", doc_string="/home/someone/net.py(3)")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "g", value[:1], value[1:]))
    model.graph.node[0].metadata_props.add(key="stack_trace", value="/home/someone/net.py, line 3")
    bare = digits.without_sources(model)
    assert b"someone" not in bare.SerializeToString()
    assert [(one.op_type, one.name) for one in bare.graph.node] == [("Relu", "relu")]
    assert b"someone" in model.SerializeToString()
