"""An integer graph as the backends see it: buffers, and kernel calls in execution order. No ONNX here.

A call reads and writes buffers from their first byte on, or from a byte offset that it states: rows of an image are
bytes in a row, so that a call on a band of rows is an ordinary call of a kernel for a lower image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.op import Array, Bounds, Op, Operand, Role
from bevel.backends.program.resources import NOTHING, Resources
from bevel.calib.formats.coded import Coded, counted


@dataclass(frozen=True)
class Buffer:
    """Storage for one activation. Reshapes share a buffer, so its shape is only how it was first written."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return prod(self.shape) * int(np.dtype(self.dtype).itemsize)


class Span(NamedTuple):
    """Bytes [first, end) of a buffer."""

    buffer: str
    first: int
    end: int


class Weights(NamedTuple):
    """Weights of a call, `values`, whose coding the model says."""

    values: Array
    coded: Coded


class Asked(NamedTuple):
    """A rule that was asked for a kernel, by its file's name, and its answer: the reason why not, or TAKEN. cost: what
    its kernel was estimated to spend in a call, and the bytes of its constants, where it has one."""

    rule: str
    answer: str
    cost: Resources = NOTHING


TAKEN = "taken"
THREADS = "threads"  # no rule: how a kernel runs on a GPU, and why where it is one thread


@dataclass(frozen=True)
class Call:
    """One kernel call: `node` names the integer graph's node it computes.

    Operands may be parts of buffers: `input_starts` and `output_start` are the bytes of the buffers that come before
    them. Without `input_starts` every input starts its buffer. `narrower`: the constants at other widths than the
    full one, by their bits, in a program that can change its width while it runs (`bevel.backends.program.switching`).
    `weights`: its weights as the model codes them, where it does. `more`: the buffers of its other outputs, and
    `states`: those of its states, all from their first byte on.
    `input_bounds`: what the integers of each input lie in, None where nothing is known
    (`bevel.backends.program.bounds`). `team`: the number of the first of the calls that may run at the same time as
    this one (`bevel.backends.program.teams`). `asked`: how its kernel was chosen: the rule that it is from, then the
    others.
    """

    node: str
    kernel: Op
    inputs: tuple[str, ...]  # buffer names, in operand order
    constants: tuple[Array, ...]
    output: str
    input_starts: tuple[int, ...] = ()
    output_start: int = 0
    narrower: dict[int, tuple[Array, ...]] = field(default_factory=dict)
    input_bounds: tuple[Bounds | None, ...] = ()
    asked: tuple[Asked, ...] = field(default=(), compare=False)
    weights: Weights | None = field(default=None, compare=False)
    more: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    team: int | None = None

    def __post_init__(self) -> None:
        if not self.input_starts:
            object.__setattr__(self, "input_starts", (0,) * len(self.inputs))
        if not self.input_bounds:
            object.__setattr__(self, "input_bounds", (None,) * len(self.inputs))
        declared = self.kernel.roles(Role.CONSTANT)
        for constants in (self.constants, *self.narrower.values()):
            found = [(array.shape, str(array.dtype)) for array in constants]
            if found != [(operand.shape, operand.dtype) for operand in declared]:
                raise ValueError(f"{self.node}: constants {found} are not those of {self.kernel}")
        if len(self.inputs) != len(self.kernel.roles(Role.INPUT)):
            raise ValueError(f"{self.node}: {len(self.inputs)} inputs given to {self.kernel}")
        if len(self.input_starts) != len(self.inputs):
            raise ValueError(f"{self.node}: {len(self.input_starts)} starts given for {len(self.inputs)} inputs")
        for role, names in ((Role.OUTPUT, self.outputs), (Role.STATE, self.states)):
            if len(names) != len(self.kernel.roles(role)):
                raise ValueError(f"{self.node}: {len(names)} {role.value} buffers given to {self.kernel}")

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.output, *self.more

    def occurring(self, weights: Array) -> NDArray[np.int64]:
        """The integers that occur in one of the call's arrays, ascending.

        Where the model says how it is coded, its codes know. Those of a model that came without a coding are
        counted.
        """
        if self.weights is not None and np.may_share_memory(self.weights.values, weights):
            return self.weights.coded.occurring
        return counted(weights)

    def reads(self) -> list[Span]:
        """What is read of each input."""
        operands = self.kernel.roles(Role.INPUT)
        given = zip(self.inputs, self.input_starts, operands, strict=True)
        return [Span(name, start, start + operand.bytes) for name, start, operand in given]

    def writes(self) -> list[Span]:
        """What is written of each output."""
        starts = (self.output_start, *(0 for _ in self.more))
        given = zip(self.outputs, starts, self.kernel.roles(Role.OUTPUT), strict=True)
        return [Span(name, start, start + operand.bytes) for name, start, operand in given]

    def keeps(self) -> list[Span]:
        """What is read and written of each state."""
        given = zip(self.states, self.kernel.roles(Role.STATE), strict=True)
        return [Span(name, 0, operand.bytes) for name, operand in given]


@dataclass(frozen=True)
class Port:
    """A graph input or output: the ONNX name, the buffer that holds it, and what its integers mean.

    scale and zero_point are None where the element type is float, and one for each index along `axis` where its parts
    have scales of their own.
    """

    name: str
    buffer: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | tuple[float, ...] | None = None
    zero_point: int | tuple[int, ...] | None = None
    axis: int = 0

    @property
    def parameters(self) -> tuple[Array, Array]:
        """Scale, float32, and zero point, int32, as they are broadcast against the port's elements.

        Raises ValueError for a port of floats.
        """
        if self.scale is None or self.zero_point is None:
            raise ValueError(f"{self.name} is no quantized port")
        along = [-1 if place == self.axis else 1 for place in range(len(self.shape))]
        found = np.array(self.scale, np.float32), np.array(self.zero_point, np.int32)
        scale, zero_point = (one.reshape(along) if one.ndim else one for one in found)
        return scale, zero_point


@dataclass(frozen=True)
class Program:
    """Every buffer lives in the arena, except those named in `constants`, which are read from flash, and those in
    `outside`. The buffers of `states` keep what they hold from one run to the next. `widths`: the bits of weights that
    can be chosen while it runs, the full ones first; empty where there is no choice. `width`: those it begins with.

    `entries` and `exits`: calls before and after one run, between floats in the application's memory and the arena
    (`bevel.backends.program.conversions`). `carried`: the buffers whose contents behind a run are those before the next
    (`bevel.backends.program.carry`), and what each of their elements is where a sequence of runs begins. `sha256`: of
    the file of the integer model, if it is one."""

    name: str  # a C identifier
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    buffers: dict[str, Buffer]
    calls: tuple[Call, ...]
    constants: dict[str, Array] = field(default_factory=dict)  # buffer name: its contents
    widths: tuple[int, ...] = ()
    width: int = 8
    entries: tuple[Call, ...] = ()
    exits: tuple[Call, ...] = ()
    sha256: str = ""
    carried: dict[str, int] = field(default_factory=dict)

    @property
    def teams(self) -> list[tuple[int, int]]:
        """Of each call, the first and the last of those that may run at the same time as it."""
        ends = {call.team: index for index, call in enumerate(self.calls) if call.team is not None}
        return [
            (index, index) if call.team is None else (call.team, ends[call.team])
            for index, call in enumerate(self.calls)
        ]

    @property
    def entry(self) -> str:
        """The C function that runs it once: a step, where it keeps something."""
        return f"{self.name}_{'step' if self.states else 'run'}"

    @property
    def outside(self) -> frozenset[str]:
        """The buffers of ports that are in the application's memory."""
        read = (name for call in self.entries for name in call.inputs)
        return frozenset((*read, *(call.output for call in self.exits)))

    @property
    def converted(self) -> tuple[Port, ...]:
        """The ports that entries and exits convert."""
        return tuple(port for port in (*self.inputs, *self.outputs) if port.buffer in self.outside)

    @property
    def states(self) -> tuple[str, ...]:
        """The buffers that keep something from one run to the next: the program's own, and those of calls."""
        return tuple(dict.fromkeys((*self.carried, *(name for call in self.calls for name in call.states))))

    @property
    def state_bytes(self) -> int:
        return sum(self.buffers[name].bytes for name in self.states)

    @property
    def touched(self) -> frozenset[str]:
        """The buffers that calls or ports name."""
        calls = (*self.entries, *self.calls, *self.exits)
        named = (name for call in calls for name in (*call.inputs, *call.outputs, *call.states))
        return frozenset((*named, *(port.buffer for port in (*self.inputs, *self.outputs))))

    def start(self, name: str) -> Array:
        """What a state is where a sequence begins, as bytes."""
        buffer = self.buffers[name]
        elements = buffer.bytes // np.dtype(buffer.dtype).itemsize
        return as_bytes(np.full(elements, self.carried.get(name, 0), buffer.dtype))

    def run(
        self,
        arrays: dict[str, Array],
        states: dict[str, Array] | None = None,
        after: Callable[[Call, Mapping[str, Array]], None] | None = None,
    ) -> dict[str, Array]:
        """The reference interpretation, by each kernel's `results`: {input name: array} to {output name: array}.

        `states`: bytes of each buffer that keeps something, by name, as the run before left it; they are put there
        anew. Without them, or in the beginning, {}, a sequence begins. `after`: sees the bytes of all buffers behind
        each call.
        """
        memory = {name: np.zeros(buffer.bytes, np.uint8) for name, buffer in self.buffers.items()}
        memory |= {name: self.start(name) for name in self.states}
        memory |= {name: as_bytes(array) for name, array in self.constants.items()}
        memory |= {name: array.copy() for name, array in (states or {}).items()}
        for port in self.inputs:
            given = as_bytes(arrays[port.name])
            memory[port.buffer][: given.size] = given
        for call in (*self.entries, *self.calls, *self.exits):
            inputs = held(memory, call.reads(), call.kernel.roles(Role.INPUT))
            kept = held(memory, call.keeps(), call.kernel.roles(Role.STATE))
            results = call.kernel.results(*inputs, *call.narrower.get(self.width, call.constants), *kept)
            for (name, first, end), result in zip((*call.writes(), *call.keeps()), results, strict=True):
                memory[name][first:end] = as_bytes(result)
            if after is not None:
                after(call, memory)
        if states is not None:
            states |= {name: memory[name] for name in self.states}
        return {port.name: as_array(memory[port.buffer], port) for port in self.outputs}


def held(memory: Mapping[str, Array], spans: Sequence[Span], operands: Sequence[Operand]) -> list[Array]:
    """What `memory` holds of each span, as the operand that lies there."""
    return [
        memory[name][first:end].view(operand.dtype).reshape(operand.shape)
        for (name, first, end), operand in zip(spans, operands, strict=True)
    ]


def as_bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def as_array(memory: Array, port: Port) -> Array:
    size = prod(port.shape) * int(np.dtype(port.dtype).itemsize)
    result: Array = memory[:size].view(port.dtype).reshape(port.shape)
    return result
