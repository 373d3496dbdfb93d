"""A random ONNX graph under construction: what operators draw their inputs, weights and attributes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Element = TypeVar("Element")
Draw = Callable[["Builder"], list["Value"]]

INVALID = (onnx.shape_inference.InferenceError, onnx.defs.SchemaError, onnx.checker.ValidationError)
LARGEST = 4096  # elements of a tensor


class UnfitError(Exception):
    """What was drawn does not go together: another operator is drawn in its place."""


@dataclass(frozen=True)
class Value:
    """A tensor of the graph."""

    name: str
    shape: tuple[int, ...]
    kind: int = TensorProto.FLOAT

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass
class Builder:
    rng: np.random.Generator
    opset: int
    inputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)  # of floats: what operators are drawn from
    kinds: dict[str, int] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    # Draws

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def whole(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def choose(self, among: Sequence[Element]) -> Element:
        if not among:
            raise UnfitError
        return among[self.whole(0, len(among) - 1)]

    def pick(self, *ranks: int, least: int = 1) -> Value:
        """A tensor of one of `ranks` (none: of any), rather a young one, with at least `least` elements an axis
        behind the batch."""
        fitting = [
            one
            for one in self.values
            if (not ranks or one.rank in ranks) and min(one.shape[1:], default=least) >= least
        ]
        return self.choose(fitting[-3:] if self.chance(0.7) else fitting)

    def pick_of_shape(self, shape: tuple[int, ...]) -> Value:
        return self.choose([one for one in self.values if one.shape == shape])

    # What the graph is made of

    def weight(self, shape: Sequence[int], gain: float = 1.0, positive: bool = False) -> str:
        """An initializer of normal numbers, at times one that other nodes read already."""
        known = [one for one in self.initializers if tuple(one.dims) == tuple(shape) and one.data_type == 1]
        if known and not positive and self.chance(0.2):
            return self.choose(known).name
        values = gain * self.rng.standard_normal(shape)
        if self.chance(0.1):
            values *= 10.0 ** self.rng.uniform(-3, 2)
        return self.constant((np.abs(values) + 0.1 if positive else values).astype(np.float32))

    def constant(self, values: NDArray[Any]) -> str:
        name = f"w{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def whole_numbers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def operand(self, x: Value, gain: float = 1.0) -> str:
        """A constant that broadcasts against `x` without growing it."""
        shape = [1 if self.chance(0.5) else size for size in x.shape]
        return self.weight(shape[self.whole(0, len(shape)) :], gain)

    def node(self, op: str, inputs: Sequence[Value | str], outputs: int = 1, **attributes: Any) -> list[Value]:
        """Append it; raises UnfitError where ONNX infers no shape, or one that is too large."""
        names = [one.name if isinstance(one, Value) else one for one in inputs]
        made = helper.make_node(op, names, [f"t{len(self.nodes)}_{place}" for place in range(outputs)], **attributes)
        made.name = f"{op}_{len(self.nodes)}"
        found = [Value(name, *self.type_of(made, inputs, name)) for name in made.output]
        self.nodes.append(made)
        self.values += [one for one in found if one.kind == TensorProto.FLOAT]
        self.kinds |= {one.name: one.kind for one in found}
        return found

    def type_of(self, node: onnx.NodeProto, inputs: Sequence[Value | str], output: str) -> tuple[tuple[int, ...], int]:
        constants = {one.name: one for one in self.initializers}
        known = {one.name: (one.shape, one.kind) for one in inputs if isinstance(one, Value)}
        known |= {name: (tuple(one.dims), one.data_type) for name, one in constants.items()}
        types = {name: helper.make_tensor_type_proto(known[name][1], known[name][0]) for name in node.input if name}
        data = {name: constants[name] for name in node.input if name in constants}
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset, "")
            inferred = onnx.shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=[helper.make_opsetid("", self.opset)]
            )
        except (*INVALID, RuntimeError, ValueError):
            raise UnfitError from None
        if output not in inferred or not inferred[output].tensor_type.HasField("shape"):
            raise UnfitError
        shape = tuple(dim.dim_value for dim in inferred[output].tensor_type.shape.dim)
        if not all(size > 0 for size in shape) or prod(shape) > LARGEST:
            raise UnfitError
        return shape, inferred[output].tensor_type.elem_type

    def undo(self, nodes: int, values: int, initializers: int) -> None:
        """Forget what was appended since these counts."""
        del self.nodes[nodes:], self.values[values:], self.initializers[initializers:]
