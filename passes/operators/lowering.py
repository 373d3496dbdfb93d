"""Integer graph values as buffers with a layout, so that transposes and reshapes cost nothing where nothing moves.

A value is a buffer and the order in which its ONNX axes lie in it: `order[i]` is the ONNX axis of storage axis i. A
Transpose only renames axes; bytes move when an operator asks for another order, and then only if an axis longer than
one changes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.mat_mul import dense
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Buffer, Call, Weights
from bevel.calib.formats.coded import Coded
from bevel.calib.formats.scheme import PerTensor
from bevel.passes.graph.coded_constant import CodedConstant, coded_of
from bevel.passes.operators.views import View

Order = tuple[int, ...]
Strides = tuple[int, ...]


def onnx_order(rank: int) -> Order:
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """[N, C, spatial...] stored as [N, spatial..., C]."""
    return (0, *range(2, rank), 1) if rank > 2 else onnx_order(rank)


@dataclass(frozen=True)
class Value:
    buffer: str
    shape: tuple[int, ...]  # ONNX shape
    order: Order

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape in memory."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def view(self) -> View:
        """Every ONNX axis at its stride; one of one element has none."""
        strides = dict(zip(self.order, dense(*self.stored), strict=True))
        axes = (((size, strides[axis]),) if size > 1 else () for axis, size in enumerate(self.shape))
        return View(self.buffer, tuple(axes))

    def lies_like(self, order: Order) -> bool:
        """Whether the bytes are the same in `order`: only axes of length one differ in place."""
        long = [axis for axis in self.order if self.shape[axis] != 1]
        return long == [axis for axis in order if self.shape[axis] != 1]


@dataclass
class Lowering:
    """The program under construction. Operators read values, and emit calls that make new ones."""

    values: dict[str, Value] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    moved: dict[tuple[Value, Order], Value] = field(default_factory=dict)  # what was reordered before
    flattened: dict[str, Value] = field(default_factory=dict)  # what a reshape flattens, as it lies in memory
    views: dict[str, View] = field(default_factory=dict)  # repeated elements that products read where they lie

    def constant(self, tensor: gs.Tensor) -> Array:
        if not isinstance(tensor, gs.Constant):
            raise TypeError(f"{tensor.name} is not a constant")
        return np.asarray(tensor.values)

    def coded(self, tensor: gs.Tensor) -> Coded:
        """A constant as short codes. Raises TypeError for what is no constant of few different integers."""
        found = coded_of(tensor) if isinstance(tensor, gs.Constant) else None
        if found is None:
            raise TypeError(f"{tensor.name} is no constant of at most 256 different integers")
        return found

    def coding(self, tensor: gs.Tensor) -> Coded | None:
        """How the model says that a constant is coded; None for one of plain integers."""
        return tensor.coded if isinstance(tensor, CodedConstant) else None

    def value(self, tensor: gs.Tensor) -> Value:
        """Where `tensor` is; a constant becomes a buffer in flash."""
        if tensor.name not in self.values and isinstance(tensor, gs.Constant):
            array = np.asarray(tensor.values, order="C")  # 0-d stays 0-d
            name = self.new_buffer(tensor.name, array.shape, str(array.dtype))
            self.constants[name] = array
            self.values[tensor.name] = Value(name, array.shape, onnx_order(array.ndim))
        if tensor.name not in self.values:
            source = self.flattened[tensor.name]
            self.alias(tensor, self.reorder(source, onnx_order(len(source.shape)), tensor.name), onnx_order(2))
        return self.values[tensor.name]

    def as_it_lies(self, tensor: gs.Tensor) -> Value:
        """`tensor`, or, where it flattens a value that lies in another order, that value: for who can read it so."""
        return self.flattened[tensor.name] if tensor.name in self.flattened else self.value(tensor)

    def view(self, tensor: gs.Tensor) -> View:
        """Where the elements of `tensor` are, which may be repeated."""
        return self.views[tensor.name] if tensor.name in self.views else self.value(tensor).view

    def read(self, tensor: gs.Tensor, order: Order) -> str:
        """The buffer that holds `tensor` in `order`, transposed if it has to be."""
        return self.reorder(self.value(tensor), order, tensor.name).buffer

    def rows(self, tensor: gs.Tensor, axis: int) -> tuple[str, Order]:
        """The buffer and the order in which each row of `tensor` along `axis` lies side by side; a scalar is one."""
        value = self.value(tensor)
        order = value.order
        behind = order[order.index(axis) + 1 :] if order else ()
        if any(value.shape[other] != 1 for other in behind):
            order = (*(other for other in order if other != axis), axis)
        return self.reorder(value, order, tensor.name).buffer, order

    def reorder(self, value: Value, order: Order, name: str) -> Value:
        if value.lies_like(order):
            return Value(value.buffer, value.shape, order)
        if (value, order) not in self.moved:
            self.moved[value, order] = self.move(value, order, name)
        return self.moved[value, order]

    def move(self, value: Value, order: Order, name: str) -> Value:
        """`value` in a buffer of its own, in `order`."""
        if value.buffer in self.constants:
            moved = self.constants[value.buffer].reshape(value.stored)
            moved = np.ascontiguousarray(moved.transpose([value.order.index(axis) for axis in order]))
            new = self.new_buffer(f"{name}/reordered", moved.shape, str(moved.dtype))
            self.constants[new] = moved
            return Value(new, value.shape, order)
        dtype = self.buffers[value.buffer].dtype
        permutation = tuple(value.order.index(axis) for axis in order)
        kernel = Transpose(shape=value.stored, perm=permutation, dtype=dtype)
        new = self.new_buffer(f"{name}/reordered", tuple(value.shape[axis] for axis in order), dtype)
        self.calls.append(Call(f"{name}/reorder", kernel, (value.buffer,), (), new))
        return Value(new, value.shape, order)

    def emit(
        self,
        node: gs.Node,
        kernel: Op,
        inputs: Sequence[str],
        constants: Sequence[Array],
        output: gs.Tensor,
        order: Order,
        coded: Coded | None = None,
    ) -> None:
        """Call `kernel` for `node`; `output` is written in `order`. `coded`: the first constant, its weights, as the
        model codes them."""
        packed = tuple(np.asarray(array, order="C") for array in constants)
        weights = None if coded is None else Weights(packed[0], coded)
        (buffer,) = self.written(node, kernel, [(output, order)])
        self.calls.append(Call(node.name, kernel, tuple(inputs), packed, buffer, weights=weights))

    def emit_all(
        self,
        node: gs.Node,
        kernel: Op,
        inputs: Sequence[str],
        constants: Sequence[Array],
        outputs: Sequence[tuple[gs.Tensor, Order]],
    ) -> None:
        """Call `kernel`, which has several outputs, for `node`; each is written in its order. One that nobody reads is
        an empty tensor."""
        packed = tuple(np.asarray(array, order="C") for array in constants)
        buffer, *more = self.written(node, kernel, outputs)
        self.calls.append(Call(node.name, kernel, tuple(inputs), packed, buffer, more=tuple(more)))

    def written(self, node: gs.Node, kernel: Op, outputs: Sequence[tuple[gs.Tensor, Order]]) -> list[str]:
        """New buffers for the outputs of a call, which are values from now on."""
        buffers = []
        for operand, (tensor, order) in zip(kernel.roles(Role.OUTPUT), outputs, strict=True):
            if tensor.is_empty():
                buffers.append(self.new_buffer(f"{node.name}/unread", operand.shape, operand.dtype))
                continue
            shape = tuple(tensor.shape)
            if operand.size != prod(shape):
                raise ValueError(f"{node.name}: {kernel} writes {operand.size} elements, not {shape}")
            buffers.append(self.new_buffer(tensor.name, tuple(shape[axis] for axis in order), operand.dtype))
            self.values[tensor.name] = Value(buffers[-1], shape, order)
        return buffers

    def alias(self, output: gs.Tensor, value: Value, order: Order) -> None:
        """`output` is `value`'s bytes under its own shape and `order`."""
        self.values[output.name] = Value(value.buffer, tuple(output.shape), order)

    def copy(self, value: Value, name: str) -> Value:
        buffer = self.buffers[value.buffer]
        new = self.new_buffer(f"{name}/copy", value.stored, buffer.dtype)
        self.calls.append(
            Call(f"{name}/copy", Copy(size=prod(value.shape), dtype=buffer.dtype), (value.buffer,), (), new)
        )
        return Value(new, value.shape, value.order)

    def drop_unread_constants(self) -> None:
        """Forget constants of which only a reordered copy is read."""
        read = {name for call in self.calls for name in call.inputs}
        for name in self.constants.keys() - read:
            del self.constants[name], self.buffers[name]

    def new_buffer(self, name: str, shape: tuple[int, ...], dtype: str) -> str:
        unique = name
        while unique in self.buffers:
            unique += "'"
        self.buffers[unique] = Buffer(unique, tuple(int(size) for size in shape), dtype)
        return unique


def merged(loops: Iterable[tuple[int, Strides]]) -> list[tuple[int, Strides]]:
    """Nested loops, outer ones first, each with its extent and the strides of some operands: those of one step left
    out, and neighbours that are one taken together."""
    found: list[tuple[int, Strides]] = []
    for extent, strides in loops:
        if extent == 1:
            continue
        if found and found[-1][1] == tuple(extent * stride for stride in strides):
            found[-1] = (found[-1][0] * extent, strides)
        else:
            found.append((extent, strides))
    return found


def moved(coded: Coded | None, move: Callable[[Array], Array], axes: Order = ()) -> Coded | None:
    """Weights where `move` puts them, if the model codes them; in blocks, whose elements stay together, only the order
    of axes can change, to `axes`."""
    if coded is None or isinstance(coded.blocks, PerTensor):
        return coded and coded.moved(move)
    return coded.transpose(axes) if axes else None


def rows_as_they_lie(weights: Array, value: Value) -> Array:
    """[k, n] weights with their rows in the order of a flattened value's bytes: it costs nothing at run time."""
    places = np.arange(weights.shape[0]).reshape(value.shape[1:])
    return weights[places.transpose([axis - 1 for axis in value.order[1:]]).ravel()]
