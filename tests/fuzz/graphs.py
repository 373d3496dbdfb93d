"""Random models: one seed, one graph, its data and the options it is optimized with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fuzz.builder import Builder, UnfitError, Value
from fuzz.operators import COMMON, OPERATORS

SAMPLES = 6
OPSETS = (21, 21, 21, 18, 17, 13, 13, 11, 10, 9, 22, 23, 24, 24)
FORMATS = (
    "int4",
    "int4",
    "int6",
    "int3",
    "ternary",
    "binary",
    "uint4",
    "e2m1",
    "e4m3",
    "mxfp4",
    "int4:block32",
    "int3:group8",
    "log3",
)
WIDE = ("int16", "int16", "int16", "int12", "int6", "int4", "e4m3", "mxfp6")


@dataclass(frozen=True)
class Case:
    """A model, one array of samples for each input, and options of `bevel.tools.run.options.Options`."""

    model: onnx.ModelProto
    data: dict[str, NDArray[Any]]
    target: str
    options: dict[str, Any] = field(default_factory=dict)


def random_case(seed: int) -> Case:
    rng = np.random.default_rng([seed, 1])
    b = Builder(rng, int(rng.choice(OPSETS)))
    batch = b.choose([1, 1, 1, 2])
    for place in range(b.choose([1, 1, 1, 2, 3])):
        shape = (batch, *input_shape(b, place))
        b.inputs.append(Value(b.choose(["x", "in/put", "image:0", "π", "a b"]) + str(place), shape))
    b.values += b.inputs
    grow(b, b.whole(1, 8))
    outputs = results(b)
    dynamic = b.chance(0.3)
    model = helper.make_model(
        helper.make_graph(
            b.nodes,
            b.choose(["g", "main graph"]),
            [port(one, dynamic) for one in b.inputs],
            [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
            b.initializers,
        ),
        opset_imports=[helper.make_opsetid("", b.opset)],
        ir_version=10 if b.opset >= 21 else 8,
    )
    data = {one.name: samples(b, one.shape) for one in b.inputs}
    chosen = options(b, batch if dynamic else 1)
    if any(is_pixels(one) for one in data.values()) and b.chance(0.7):
        chosen["inputs"] = "uint8"
    return Case(model, data, b.choose(["host", "cortex-m7"]), chosen)


def input_shape(b: Builder, place: int) -> tuple[int, ...]:
    """Without the batch; further inputs are at times of the first one's shape."""
    if place and b.chance(0.5):
        return b.inputs[0].shape[1:]
    channels = b.choose([1, 2, 3, 4, 4, 8])
    rank = b.choose([4, 4, 4, 3, 2, 2, 5])
    return (channels, *(b.whole(1 if b.chance(0.1) else 3, 8) for _ in range(rank - 2)))


def grow(b: Builder, count: int) -> None:
    """`count` operators, or fewer where nothing fits."""
    names = list(OPERATORS)
    for _ in range(4 * count):
        if len(b.nodes) >= count:
            return
        marks = len(b.nodes), len(b.values), len(b.initializers)
        try:
            OPERATORS[b.choose(COMMON) if b.chance(0.4) else b.choose(names)](b)
        except UnfitError:
            b.undo(*marks)


def results(b: Builder) -> list[tuple[str, int]]:
    """What nobody reads, at times something that is read too, at times an input."""
    read = {name for node in b.nodes for name in node.input}
    made = [name for node in b.nodes for name in node.output]
    chosen = [name for name in made if name not in read]
    inner = [name for name in made if name in read]
    if inner and b.chance(0.15):
        chosen.append(b.choose(inner))
    if not chosen or b.chance(0.03):
        chosen.append(b.inputs[0].name)
    return [(name, b.kinds.get(name, TensorProto.FLOAT)) for name in dict.fromkeys(chosen)]


def port(value: Value, dynamic: bool) -> onnx.ValueInfoProto:
    shape = ["N", *value.shape[1:]] if dynamic else list(value.shape)
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape)


def samples(b: Builder, shape: tuple[int, ...]) -> NDArray[Any]:
    """Normal numbers, at times all positive, far from zero, tiny or constant; or pixels."""
    if b.chance(0.1):
        return b.rng.integers(0, 256, (SAMPLES, *shape)).astype(np.float32)
    values = b.rng.standard_normal((SAMPLES, *shape))
    spread, place = b.choose([(1.0, 0.0)] * 4 + [(50.0, 0.0), (0.01, 3.0), (1e-4, 0.0), (0.0, 1.0), (0.0, 0.0)])
    values = values * spread + place
    return (np.abs(values) if b.chance(0.2) else values).astype(np.float32)


def is_pixels(array: NDArray[Any]) -> bool:
    return bool(np.all(array == np.rint(array)) and array.min() >= 0 and 1 < array.max() <= 255)


def options(b: Builder, batch: int) -> dict[str, Any]:
    chosen: dict[str, Any] = {"batch": batch, "vectors": 2}
    if b.chance(0.25):
        chosen["weights"] = b.choose(FORMATS)
    if b.chance(0.2):
        chosen["activations"] = b.choose(WIDE)
    if b.chance(0.3):
        chosen["range"] = b.choose(["minmax", "percentile", "entropy"])
    if b.chance(0.2):
        chosen["inputs"] = "quantized"
    if b.chance(0.2):
        chosen["outputs"] = "quantized"
    if b.chance(0.1):
        chosen["bias_correction"] = False
    return chosen
