"""A multilayer perceptron: 64, 128, 64, 10. Written by hand with onnx.helper, in the three spellings people use.

The first layer is a Gemm with transposed weights (torch), the second MatMul then Add (Keras, by tf2onnx), the third a
Gemm with its weights as they are (scikit-learn): a reader of ONNX has to find one operator in all of them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from bevel.models import digits

EPOCHS = 80
WIDTHS = (64, 128, 64, digits.CLASSES)


def network() -> Any:
    """The untrained torch module: [N, 1, 8, 8] to [N, 10]."""
    nn = digits.optional("torch.nn")
    first, second, third = (nn.Linear(*pair) for pair in pairwise(WIDTHS))
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), third)


def export(trained: Any) -> onnx.ModelProto:
    """`trained` as ONNX, opset 17, with the batch left open."""
    weights = {name: tensor.numpy() for name, tensor in trained.state_dict().items()}
    constants = {
        "W1": weights["1.weight"],
        "b1": weights["1.bias"],
        "W2": weights["3.weight"].T.copy(),
        "b2": weights["3.bias"],
        "W3": weights["5.weight"].T.copy(),
        "b3": weights["5.bias"],
    }
    nodes = [
        helper.make_node("Flatten", [digits.INPUT], ["pixels"], "flatten", axis=1),
        helper.make_node("Gemm", ["pixels", "W1", "b1"], ["sum1"], "dense1", transB=1),
        helper.make_node("Relu", ["sum1"], ["hidden1"], "relu1"),
        helper.make_node("MatMul", ["hidden1", "W2"], ["product2"], "dense2"),
        helper.make_node("Add", ["product2", "b2"], ["sum2"], "bias2"),
        helper.make_node("Relu", ["sum2"], ["hidden2"], "relu2"),
        helper.make_node("Gemm", ["hidden2", "W3", "b3"], [digits.OUTPUT], "dense3"),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info(digits.INPUT, TensorProto.FLOAT, ["batch", *digits.SHAPE])],
        [helper.make_tensor_value_info(digits.OUTPUT, TensorProto.FLOAT, ["batch", digits.CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="bevel")


def build() -> onnx.ModelProto:
    """The trained network as ONNX. Raises UserError where the extra `train` is not installed."""
    return export(digits.train(network, epochs=EPOCHS))


if __name__ == "__main__":
    digits.script(lambda: digits.write_network("mlp", build))
