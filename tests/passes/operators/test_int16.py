"""Int16 is a remedy: where int8 loses a network, int16 activations bring it back, in tables and products too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel.passes.base import FLOAT_KINDS
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.quantize.formats import activation_format

INT16 = QuantizeOptions(activations=activation_format("int16"))
GELU = (
    "d{i} = Div (c{i}, r)\n e{i} = Erf (d{i})\n o{i} = Add (e{i}, one)\n m{i} = Mul (c{i}, o{i})\n a{i} = Mul (m{i}, h)"
)
GATED = "g{i} = GlobalAveragePool (c{i})\n p{i} = Conv (g{i}, v{i})\n s{i} = Sigmoid (p{i})\n a{i} = Mul (c{i}, s{i})"
ACTIVATIONS = {
    "silu": "s{i} = Sigmoid (c{i})\n a{i} = Mul (c{i}, s{i})",
    "hard swish": "a{i} = HardSwish (c{i})",
    "sigmoid": "a{i} = Sigmoid (c{i})",
    "tanh": "a{i} = Tanh (c{i})",
    "mish": "t{i} = Softplus (c{i})\n s{i} = Tanh (t{i})\n a{i} = Mul (c{i}, s{i})",
    "gelu by erf": GELU,
    "squeeze and excite": GATED,
}
BLOCKS = 3


def network(text: Any, activation: str) -> onnx.ModelProto:
    """Convolutions with an activation behind each, and one at the end."""
    rng, body, tensor, channels = np.random.default_rng(3), [], "x", 3
    weights, values = ["float r", "float one", "float h"], {"r": 2**0.5, "one": 1.0, "h": 0.5}
    for i in range(BLOCKS):
        body += [f"c{i} = Conv <pads = [1,1,1,1]> ({tensor}, w{i}, b{i})", activation.format(i=i)]
        weights += [f"float[12,{channels},3,3] w{i}", f"float[12] b{i}", f"float[12,12,1,1] v{i}"]
        values[f"w{i}"] = rng.standard_normal((12, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
        values[f"b{i}"] = rng.standard_normal(12) * 0.1
        tensor, channels = f"a{i}", 12
    body.append(f"y = Conv ({tensor}, w)")
    weights.append("float[4,12,1,1] w")
    return text("\n".join(body), "float[1,3,10,10] x", "float[] y", ", ".join(weights), values)


def sqnr(model: onnx.ModelProto, made: Any, samples: Any) -> float:
    """dB of the integer model's outputs against the float model's."""
    sessions = [
        ort.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (model, made.integer)
    ]
    pairs = [[session.run(None, sample)[0] for session in sessions] for sample in samples]
    wanted, found = (np.stack(side) for side in zip(*pairs, strict=True))
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_networks_of_smooth_activations_gain_decibels(activation: str, text: Any, stages: Any, around: Any) -> None:
    model = network(text, activation)
    samples = around(model)
    found = {
        name: sqnr(model, stages(model, samples, options, inputs="float", outputs="float"), samples)
        for name, options in (("int8", QuantizeOptions()), ("int16", INT16))
    }
    assert found["int16"] >= found["int8"] + 6, found
    assert found["int16"] > 33, found


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_network_in_int16_is_the_same_everywhere(activation: str, text: Any, stages: Any, around: Any) -> None:
    model = network(text, activation)
    made = stages(model, around(model), INT16)
    for sample in made.extremes():
        made.run(sample)


MIXED = {
    "a table of int8 to int16": ("t = Tanh (x)\n y = Sigmoid (t)", {"x": "int8", "t": "int16"}),
    "a table of int16 to int8": ("t = Tanh (x)\n y = Sigmoid (t)", {"x": "int16", "t": "int8"}),
    "a product of both": ("t = Tanh (x)\n y = Mul (t, z)", {"x": "int8", "t": "int16", "z": "int8"}),
    "a product of int8 to int16": ("y = Mul (x, z)", {"y": "int16"}),
    "a softmax of int8 to int16": ("y = Softmax (x)", {"y": "int16"}),
    "a softmax of int16 to int8": ("y = Softmax (x)", {"x": "int16"}),
    "a softmax to 12 bits": ("y = Softmax (x)", {"x": "int16", "y": "int12"}),
    "a table to 12 bits": ("y = Sigmoid (x)", {"x": "int16", "y": "int12"}),
    "a table of 12 bits": ("t = Tanh (x)\n y = Sigmoid (t)", {"x": "int8", "t": "int12"}),
    "a table of a minifloat": ("t = MaxPool <kernel_shape = [1,2]> (x)\n y = Sigmoid (t)", {"x": "e3m2"}),
}


@pytest.mark.parametrize(("body", "formats"), MIXED.values(), ids=MIXED)
def test_int8_and_int16_meet_in_every_operator(body: str, formats: dict[str, str], text: Any, stages: Any) -> None:
    inputs = "float[1,2,4,5] x" + (", float[1,2,4,5] z" if "z)" in body else "")
    nodes = {name: NodeFormat(None, activation_format(format)) for name, format in formats.items()}
    made = stages(text(body, inputs), None, QuantizeOptions(nodes=nodes))
    assert not [note for note in made.notes if note.kind in FLOAT_KINDS]
    for sample in made.extremes():
        assert made.error(sample) <= 3
