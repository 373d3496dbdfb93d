"""Inputs that are transposed where they come in, as the overlay has hardware for that there and at outputs only.

Models have images with their channels first, and convolutions read them with channels last: where something is done
element by element before, or means are taken, that is of transposed elements, too.

    transpose(f(a, b))  ==  f(transpose(a), transpose(b))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod

from bevel.backends.fpga.network import held
from bevel.backends.program.op import Array, Op
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.ops.round_even import RoundEven
from bevel.backends.program.ops.table import Table
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.pairs import Pair
from bevel.backends.program.program import Buffer, Call, Program

Shape = tuple[int, ...]


@dataclass
class Turning:
    """A program that is being rewritten. turned: of buffers, the Transpose that they lie behind in another one."""

    program: Program
    calls: list[Call] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    turned: dict[str, Transpose] = field(default_factory=dict)

    def name(self, buffer: str) -> str:
        return f"{buffer}/transposed"

    def made(self, buffer: str, transpose: Transpose) -> str:
        """The name of `buffer` behind a Transpose."""
        name = self.name(buffer)
        self.buffers[name] = Buffer(name, transpose.permuted, transpose.dtype)
        self.turned[buffer] = transpose
        return name

    def turn(self, buffer: str, transpose: Transpose) -> None:
        name = self.made(buffer, transpose)
        self.calls.append(Call(name, moving(transpose), (buffer,), (), name))

    def restore(self, buffer: str) -> None:
        """The buffer as the program has it."""
        transpose = self.turned.pop(buffer)
        perm = tuple(sorted(range(len(transpose.perm)), key=transpose.perm.__getitem__))
        back = Transpose(transpose.permuted, perm, transpose.dtype)
        self.calls.append(Call(f"{buffer}/restored", moving(back), (self.name(buffer),), (), buffer))


def with_transposed_inputs(program: Program) -> Program:
    """The same results, with a Transpose at an input in place of others behind it."""
    found = Turning(program, buffers=dict(program.buffers), constants=dict(program.constants))
    for port in program.inputs:
        order = order_of(program, held(program, port))
        if order is not None:
            found.turn(held(program, port), order)
    if not found.turned:
        return program
    for call in program.calls:
        add(found, call)
    for port in program.outputs:
        if held(program, port) in found.turned:
            found.restore(held(program, port))
    return replace(program, calls=tuple(found.calls), buffers=found.buffers, constants=found.constants)


def order_of(program: Program, buffer: str) -> Transpose | None:
    """What an input is transposed by, or what is made of its elements; None where nobody asks for that, or only who
    reads it."""
    shape, dtype = program.buffers[buffer].shape, program.buffers[buffer].dtype
    readers = list(reading(program, buffer, shape))
    orders = [call.kernel for call in readers if isinstance(call.kernel, Transpose)]
    alone = len(readers) == 1 and bool(orders)
    if alone or any(one.shape != shape for one in orders):
        return None
    if orders or len(shape) < 3:
        return orders[0] if orders else None
    last = Transpose(shape, (0, *range(2, len(shape)), 1), dtype)
    asked = any(reduced(call.kernel, last) or of_channels(call.kernel, shape) for call in readers)
    return last if asked else None


def moving(order: Transpose) -> Op:
    return order if moves(order) else Copy(prod(order.shape), order.dtype)


def moves(order: Transpose) -> bool:
    """Whether elements lie otherwise behind it."""
    axes = [axis for axis in order.perm if order.shape[axis] != 1]
    return axes != sorted(axes)


def of_channels(op: Op, shape: Shape) -> bool:
    """Whether something is the same for all elements of a channel, the second axis."""
    one = tuple(length if axis == 1 else 1 for axis, length in enumerate(shape))
    return by_element(op, shape) and one in shapes_of(op, shape)


def reading(program: Program, buffer: str, shape: Shape) -> Iterator[Call]:
    """Who reads a tensor, and what is made of it element by element."""
    names = {buffer}
    for call in program.calls:
        if names.intersection(call.inputs):
            yield call
            if by_element(call.kernel, shape):
                names.add(call.output)


def by_element(op: Op, shape: Shape) -> bool:
    return op.shape == shape if isinstance(op, Pair) else isinstance(op, Table | RoundEven)


def add(found: Turning, call: Call) -> None:
    """A call, of transposed inputs where there are any."""
    known = [found.turned[name] for name in call.inputs if name in found.turned]
    new = transposed(found, call, known[0]) if known else call
    if new is None:
        for name in dict.fromkeys(call.inputs):
            if name in found.turned:
                found.restore(name)
    found.calls.append(call if new is None else new)


def transposed(found: Turning, call: Call, order: Transpose) -> Call | None:
    """None where it takes its inputs as they were."""
    kernel, source = call.kernel, found.name(call.inputs[0])
    if isinstance(kernel, Transpose) and kernel == order:
        copy = Copy(prod(kernel.shape), kernel.dtype)
        return replace(call, kernel=copy, inputs=(source,), input_bounds=())
    if (mean := reduced(kernel, order)) is not None:
        return replace(call, kernel=mean, inputs=(source,), input_bounds=())
    if not by_element(kernel, order.shape):
        return None
    pairs = zip(call.inputs, shapes_of(kernel, order.shape), strict=True)
    inputs = [one for name, shape in pairs if (one := input_of(found, name, replace(order, shape=shape))) is not None]
    if len(inputs) < len(call.inputs):
        return None
    name = found.made(call.output, replace(order, dtype=found.buffers[call.output].dtype))
    return replace(call, kernel=permuted(kernel, order), inputs=tuple(inputs), input_bounds=(), output=name)


def input_of(found: Turning, name: str, order: Transpose) -> str | None:
    """Where a tensor, as many axes of it as of others, lies transposed; None where it does not."""
    if name in found.turned:
        return found.name(name)
    if not moves(order):
        return name
    if name not in found.constants:
        return None
    buffer = Buffer(found.name(name), order.permuted, found.buffers[name].dtype)
    found.buffers[buffer.name] = buffer
    found.constants[buffer.name] = order.reference(found.constants[name].reshape(order.shape))
    return buffer.name


def shapes_of(op: Op, shape: Shape) -> list[Shape]:
    """Of the inputs of `op`, as many axes each as `shape`, that of its result."""
    if not isinstance(op, Pair):
        return [shape]
    return [(1,) * (len(shape) - len(one)) + one for one in (op.a_shape, op.b_shape)]


def permuted(op: Op, order: Transpose) -> Op:
    """`op` of transposed inputs."""
    if not isinstance(op, Pair):
        return op
    a, b = (tuple(one[axis] for axis in order.perm) for one in shapes_of(op, order.shape))
    return replace(op, shape=order.permuted, a_shape=a, b_shape=b)


def reduced(op: Op, order: Transpose) -> ReduceMean | None:
    """A mean over the last axes as one of what is transposed, where those stay beside each other."""
    shape = order.shape
    if not isinstance(op, ReduceMean) or op.inner != 1 or op.outer * op.reduced != prod(shape):
        return None
    kept = next((axis for axis in range(len(shape) + 1) if prod(shape[:axis]) == op.outer), None)
    if kept is None:
        return None
    axes = [axis for axis in order.perm if shape[axis] != 1]
    gone = [place for place, axis in enumerate(axes) if axis >= kept]
    others = [axis for axis in axes if axis < kept]
    if others != sorted(others) or (gone and gone[-1] - gone[0] != len(gone) - 1):
        return None
    outer = prod(shape[axis] for axis in (axes[: gone[0]] if gone else others))
    return replace(op, outer=outer, inner=op.outer // outer)
