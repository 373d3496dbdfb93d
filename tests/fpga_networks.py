"""Small networks drawn at random, beside each other in one ONNX model: one simulation runs them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Drawing:
    """A model under construction."""

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, *shape: int) -> str:
        name = f"c{len(self.constants)}"
        values = self.rng.normal(0, 0.5, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name


LAYERS = ("conv", "conv", "depthwise", "pool", "residual", "gate", "scale")


def drawn_model(count: int, seed: int) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """`count` networks, and samples for them, {input: float32 [8, *shape]}."""
    drawing = Drawing(np.random.default_rng(seed))
    inputs, outputs, samples = [], [], {}
    for number in range(count):
        channels, height, width = (int(drawing.rng.integers(low, high)) for low, high in ((1, 5), (4, 8), (3, 8)))
        name, shape = f"x{number}", (1, channels, height, width)
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        samples[name] = drawing.rng.normal(0, 1, (8, *shape)).astype(np.float32)
        result = network(drawing, name, (channels, height, width))
        outputs.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, None))
    graph = helper.make_graph(drawing.nodes, "drawn", inputs, outputs, drawing.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model), samples


def network(drawing: Drawing, x: str, shape: tuple[int, int, int]) -> str:
    """Some layers, and perhaps a classifier."""
    for _ in range(int(drawing.rng.integers(1, 4))):
        kind = drawing.rng.choice(LAYERS)
        if kind == "residual":
            x = residual(drawing, x, shape)
        elif kind == "gate":
            x = gate(drawing, x, shape)
        elif kind == "scale":
            x = drawing.node("Relu", [drawing.node("Mul", [x, drawing.constant(shape[0], 1, 1)])])
        elif kind == "pool":
            x, shape = pool(drawing, x, shape)
        else:
            x, shape = conv(drawing, x, shape, kind == "depthwise")
    if drawing.rng.random() < 0.5:
        x = drawing.node("Flatten", [drawing.node("GlobalAveragePool", [x])])
        n = int(drawing.rng.integers(2, 6))
        x = drawing.node("Gemm", [x, drawing.constant(n, shape[0]), drawing.constant(n)], transB=1)
        if drawing.rng.random() < 0.5:
            x = drawing.node("Softmax", [x], axis=-1)
    return x


def conv(drawing: Drawing, x: str, shape: tuple[int, int, int], depthwise: bool) -> tuple[str, tuple[int, int, int]]:
    rng, (channels, *size) = drawing.rng, shape
    made = channels if depthwise else int(rng.integers(1, 7))
    kernel = [int(rng.integers(1, min(4, length) + 1)) for length in size]
    strides = [int(rng.integers(1, 3)) for _ in size]
    dilations = [
        2 if 2 * (k - 1) < length and rng.random() < 0.2 else 1 for k, length in zip(kernel, size, strict=True)
    ]
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    given = [x, drawing.constant(made, 1 if depthwise else channels, *kernel), drawing.constant(made)]
    groups = channels if depthwise else 1
    x = drawing.node("Conv", given, kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads, group=groups)
    if rng.random() < 0.6:
        x = drawing.node("Relu", [x])
    spans = zip(size, kernel, strides, dilations, pads[:2], pads[2:], strict=True)
    rows, columns = ((n + a + b - d * (k - 1) - 1) // s + 1 for n, k, s, d, a, b in spans)
    return x, (made, rows, columns)


def pool(drawing: Drawing, x: str, shape: tuple[int, int, int]) -> tuple[str, tuple[int, int, int]]:
    if min(shape[1:]) < 2:
        return x, shape
    kind = str(drawing.rng.choice(["MaxPool", "AveragePool"]))
    x = drawing.node(kind, [x], kernel_shape=[2, 2], strides=[2, 2])
    return x, (shape[0], shape[1] // 2, shape[2] // 2)


def residual(drawing: Drawing, x: str, shape: tuple[int, int, int]) -> str:
    weights, bias = drawing.constant(shape[0], shape[0], 3, 3), drawing.constant(shape[0])
    branch = drawing.node("Relu", [drawing.node("Conv", [x, weights, bias], kernel_shape=[3, 3], pads=[1, 1, 1, 1])])
    return drawing.node("Add", [branch, x])


def gate(drawing: Drawing, x: str, shape: tuple[int, int, int]) -> str:
    """Of each channel, by the means of all (squeeze and excitation)."""
    weights, bias = drawing.constant(shape[0], shape[0], 1, 1), drawing.constant(shape[0])
    excited = drawing.node("Conv", [drawing.node("GlobalAveragePool", [x]), weights, bias])
    return drawing.node("Mul", [drawing.node("HardSigmoid", [excited]), x])
