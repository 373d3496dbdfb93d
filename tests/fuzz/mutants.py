"""Files that something happened to: a model or its data with bytes, lengths, fields, attributes or sizes changed."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from fuzz.graphs import random_case

MODELS = Path(__file__).parents[2] / "models"
NETWORKS = ("mlp", "mobilenet", "resnet8")
CALIB = MODELS / "digits_calib.npz"
SAMPLES = 4
WORDS = ("", "x", "Relu", "Nonsense", "a/b", "\x00", "é" * 40, "ai.onnx.ml")
NUMBERS = (0, 1, -1, 2, 3, 7, 127, 2**31 - 1, -(2**31), 2**40, -(2**63))
REALS = (0.0, -1.0, 1e-38, 1e38, float("inf"), float("nan"))


@dataclass(frozen=True)
class Mutant:
    """The bytes of a model and of its calibration data."""

    model: bytes
    data: bytes
    target: str
    what: str


def mutant(seed: int) -> Mutant:
    rng = np.random.default_rng([seed, 2])
    model, data = original(rng)
    kind = str(rng.choice(["bytes", "cut", "swapped", "fields", "fields", "fields", "fields", "data"]))
    if kind == "data":
        data = damaged(data, rng)
    elif kind == "fields":
        model = edited(model, rng)
    else:
        model = {"bytes": flipped, "cut": cut, "swapped": swapped}[kind](model, rng)
    return Mutant(model, data, str(rng.choice(["host", "cortex-m7"])), kind)


def original(rng: np.random.Generator) -> tuple[bytes, bytes]:
    """A network of `models/` with digits, or a random graph with its own data."""
    stream = io.BytesIO()
    if rng.random() < 0.5:
        with np.load(CALIB) as arrays:
            np.savez(stream, allow_pickle=False, **{name: arrays[name][:SAMPLES] for name in arrays.files})
        return (MODELS / f"{rng.choice(NETWORKS)}.onnx").read_bytes(), stream.getvalue()
    case = random_case(int(rng.integers(0, 2**31)))
    np.savez(stream, allow_pickle=False, **case.data)
    return case.model.SerializeToString(), stream.getvalue()


# Bytes


def flipped(given: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes are others; most lie in the first two thousand, where the structure is denser than in weights."""
    changed = bytearray(given)
    for _ in range(int(rng.integers(1, 12))):
        reach = min(len(changed), 2000) if rng.random() < 0.7 else len(changed)
        changed[int(rng.integers(0, reach))] = int(rng.integers(0, 256))
    return bytes(changed)


def cut(given: bytes, rng: np.random.Generator) -> bytes:
    return given[: int(rng.integers(0, len(given)))]


def swapped(given: bytes, rng: np.random.Generator) -> bytes:
    """Two stretches of equal length change their places."""
    length = int(rng.integers(1, 200))
    first, second = (int(place) for place in sorted(rng.integers(0, max(1, len(given) - length), 2)))
    if second < first + length:
        return flipped(given, rng)
    middle = given[first + length : second]
    return (
        given[:first]
        + given[second : second + length]
        + middle
        + given[first : first + length]
        + given[second + length :]
    )


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Calibration data that is cut, changed, of other shapes or types, not finite, or named otherwise."""
    way = int(rng.integers(0, 7))
    if way < 2:
        return (cut, flipped)[way](data, rng)
    with np.load(io.BytesIO(data)) as arrays:
        known = {name: arrays[name] for name in arrays.files}
    name = str(rng.choice(sorted(known)))
    array = known.pop(name)
    nothing = np.full(array.shape, np.nan, np.float32)
    others = (array[..., :-1], array.astype(np.int64), nothing, array[:0])
    known[name if way > 2 else "other"] = array if way == 2 else others[way - 3]
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **known)
    return stream.getvalue()


# Fields


def edited(given: bytes, rng: np.random.Generator) -> bytes:
    """One to three fields of the model hold something else."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(given)
    except DecodeError:
        return given
    for _ in range(int(rng.integers(1, 4))):
        if model.graph.node:  # an earlier mutation may have left none
            EDITS[int(rng.integers(0, len(EDITS)))](model, rng)
    return model.SerializeToString()


def choose_node(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.NodeProto:
    return model.graph.node[int(rng.integers(0, len(model.graph.node)))]


def edit_attribute(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    attributes = [one for node in model.graph.node for one in node.attribute]
    if not attributes:
        return
    one = attributes[int(rng.integers(0, len(attributes)))]
    way = int(rng.integers(0, 5))
    number, real = int(rng.choice(NUMBERS)), float(rng.choice(REALS))
    if way == 0:
        one.name = str(rng.choice(WORDS)) or "none"
    elif way == 1 and one.ints:
        one.ints[int(rng.integers(0, len(one.ints)))] = number
    elif way == 2 and one.ints:
        del one.ints[-1:]
    elif way == 3:
        one.i, one.f, one.s = number, real, str(rng.choice(WORDS)).encode()
    else:
        one.type = int(rng.integers(1, 8))


def edit_node(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    node, other = choose_node(model, rng), choose_node(model, rng)
    way = int(rng.integers(0, 8))
    if way == 0:
        node.op_type = str(rng.choice([*WORDS, other.op_type]))
    elif way == 1 and node.input:
        del node.input[-1:]
    elif way == 2 and node.input and other.output:
        node.input[int(rng.integers(0, len(node.input)))] = other.output[0]
    elif way == 3:
        node.input.append(str(rng.choice(WORDS)))
    elif way == 4 and node.output and other.output:
        node.output[0] = other.output[0]
    elif way == 5:
        node.domain = str(rng.choice(WORDS))
    elif way == 6:
        model.graph.node.append(node)
    else:
        model.graph.node.remove(node)
    if not model.graph.node:
        model.graph.node.append(other)


def edit_weight(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    if not model.graph.initializer:
        return
    tensor = model.graph.initializer[int(rng.integers(0, len(model.graph.initializer)))]
    way = int(rng.integers(0, 6))
    if way == 0 and tensor.dims:
        tensor.dims[0] = int(rng.choice(NUMBERS))
    elif way == 1:
        tensor.dims.append(int(rng.choice(NUMBERS)))
    elif way == 2:
        tensor.data_type = int(rng.integers(0, 24))
    elif way == 3:
        tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    elif way == 4:
        tensor.name = str(rng.choice(WORDS))
    else:
        tensor.raw_data = bytes(rng.integers(0, 256, len(tensor.raw_data), np.uint8))


def edit_port(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    ports = [*model.graph.input, *model.graph.output]
    port = ports[int(rng.integers(0, len(ports)))]
    dims = port.type.tensor_type.shape.dim
    way = int(rng.integers(0, 5))
    if way == 0 and dims:
        dims[int(rng.integers(0, len(dims)))].dim_value = int(rng.choice(NUMBERS))
    elif way == 1 and dims:
        dims[int(rng.integers(0, len(dims)))].dim_param = str(rng.choice(WORDS))
    elif way == 2:
        port.type.tensor_type.elem_type = int(rng.integers(0, 24))
    elif way == 3:
        port.name = str(rng.choice(WORDS))
    else:
        del dims[-1:]


def edit_version(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    if rng.random() < 0.5 and model.opset_import:
        model.opset_import[0].version = int(rng.choice([*range(0, 30), 2**31]))
    else:
        model.ir_version = int(rng.choice([0, 1, 3, 99]))


Edit = Callable[[onnx.ModelProto, np.random.Generator], None]
EDITS: tuple[Edit, ...] = (edit_attribute, edit_attribute, edit_node, edit_node, edit_weight, edit_port, edit_version)
