"""A program as steps of the overlay, one after the other, and what stands at its ends.

A Transpose of what comes in, and a Softmax, an ArgMax or a Transpose of what goes out are stages of their own on the
streams there, as in a streaming design.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from math import gcd, prod
from types import ModuleType

from bevel.backends.fpga.network import Outside, entering, held, leaving, whole
from bevel.backends.fpga.node import Folding, node_of
from bevel.backends.fpga.overlay import nodes
from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.windows import OverlaySums
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.verilog.text import unique
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.op import Role
from bevel.backends.program.ops.arg_max import ArgMax
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.softmax import Softmax
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Call, Program
from bevel.calib.errors import UserError

AT_ENDS = (ArgMax, Softmax, Transpose)
BYTE = (-128, 127)
MOST_PORTS = 16


@dataclass(frozen=True, eq=False)
class OverlayStep:
    """inputs and output: names of tensors."""

    call: Call
    windows: OverlaySums
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, eq=False)
class OverlayEnd:
    """A port, the tensor that is moved there, and a stage between them."""

    outside: Outside
    tensor: str
    layout: PixelLayout
    stage: Stage | None = None
    call: Call | None = None

    def beat(self, lanes: int) -> int:
        """ElementSums that come or go at once."""
        if self.stage is not None:
            return 1
        channels = self.layout.channels
        return channels if channels <= lanes else gcd(channels, lanes)

    def beats(self, lanes: int) -> tuple[int, int, int]:
        """Beats of a word, of a pixel's last word, and words of a pixel."""
        beat, depth = self.beat(lanes), self.layout.depth(lanes)
        full = min(lanes, self.layout.channels)
        return full // beat, (self.layout.channels - (depth - 1) * lanes) // beat, depth

    def words_stream(self, lanes: int) -> BeatStream:
        """Beats between words and what is outside of them."""
        return BeatStream(self.layout.pixels * self.layout.channels, self.beat(lanes), BYTE, 8)


@dataclass(frozen=True, eq=False)
class OverlayNetwork:
    """tensors: how each lies."""

    name: str
    steps: tuple[OverlayStep, ...]
    inputs: tuple[OverlayEnd, ...]
    outputs: tuple[OverlayEnd, ...]
    tensors: dict[str, PixelLayout]

    @property
    def tables(self) -> bool:
        return any(getattr(step.windows, "table", None) is not None for step in self.steps)


@dataclass
class Reading:
    """A program that is being read: buffers by the tensor that they hold."""

    program: Program
    calls: list[Call]
    names: dict[str, str]  # of calls
    holds: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, PixelLayout] = field(default_factory=dict)
    steps: list[OverlayStep] = field(default_factory=list)
    tails: dict[str, tuple[str, Call]] = field(default_factory=dict)  # by what is behind them

    def readers(self, buffer: str) -> list[Call]:
        return [call for call in self.calls if buffer in call.inputs]


def overlay_network(program: Program) -> OverlayNetwork:
    """Raises UserError for what the overlay has no hardware for: the node, and why."""
    known = with_bounds(program)
    ports = [(port, entering(known, port)) for port in known.inputs]
    ends = [(port, leaving(known, port)) for port in known.outputs]
    if known.constants or max(len(ports), len(ends)) > MOST_PORTS:
        raise UserError(f"{program.name}: constant results, or more than {MOST_PORTS} ports, have no overlay")
    names = unique(call.node for call in known.calls)
    reading = Reading(
        known, list(known.calls), {call.output: name for call, name in zip(known.calls, names, strict=True)}
    )
    inputs = tuple(fed(reading, held(known, port), outside) for port, outside in ports)
    for call in list(reading.calls):
        read(reading, call)
    outputs = tuple(drained(reading, held(known, port), outside) for port, outside in ends)
    return OverlayNetwork(program.name, tuple(reading.steps), inputs, outputs, reading.tensors)


def fed(reading: Reading, buffer: str, outside: Outside) -> OverlayEnd:
    """An input port, and a Transpose that alone reads it."""
    readers, stage, call = reading.readers(buffer), None, None
    shape = reading.program.buffers[buffer].shape
    if len(readers) == 1 and isinstance(readers[0].kernel, Transpose):
        call = readers[0]
        whole(reading.program, call)
        stage = stage_of(reading, call)
        reading.calls.remove(call)
        shape, buffer = tuple(call.kernel.roles(Role.OUTPUT)[0].shape), call.output
    lies = pixels_of(shape)
    reading.holds[buffer], reading.tensors[buffer] = buffer, wanted(reading, buffer, lies) or lies
    return OverlayEnd(outside, buffer, reading.tensors[buffer], stage, call)


def wanted(reading: Reading, buffer: str, lies: PixelLayout) -> PixelLayout | None:
    """As who reads it must have it; None where any way will do."""
    for call in reading.readers(buffer):
        found = None if isinstance(call.kernel, Copy) else windows_of(call, (lies,) * len(call.inputs))
        if isinstance(found, OverlaySums) and found.given:
            return found.given[call.inputs.index(buffer)]
        behind = None if isinstance(found, str) else wanted(reading, call.output, lies)
        if behind is not None:
            return behind
    return None


def pixels_of(shape: tuple[int, ...]) -> PixelLayout:
    return PixelLayout(prod(shape[:-1]), shape[-1] if shape else 1)


def stage_of(reading: Reading, call: Call) -> Stage:
    node = node_of(call, reading.names[call.output], (BYTE,))
    if isinstance(node, str):
        raise refusal(call, node)
    (stage,) = node.stages(Folding())
    return stage


def read(reading: Reading, call: Call) -> None:
    """A call: another name, what stands at an end, or a step."""
    whole(reading.program, call)
    behind = [name for name in call.inputs if name not in reading.holds]
    if behind:
        raise refusal(call, f"it is behind {reading.tails[behind[0]][1].node}, which has hardware only at the end")
    given = tuple(reading.holds[name] for name in call.inputs)
    if isinstance(call.kernel, Copy):
        reading.holds[call.output] = given[0]
        return
    if isinstance(call.kernel, AT_ENDS):
        reading.tails[call.output] = given[0], call
        return
    layouts = tuple(reading.tensors[name] for name in given)
    found = windows_of(call, layouts)
    if isinstance(found, str):
        raise refusal(call, found)
    reading.steps.append(OverlayStep(call, found, given, call.output))
    reading.holds[call.output], reading.tensors[call.output] = call.output, found.made


def windows_of(call: Call, layouts: tuple[PixelLayout, ...]) -> OverlaySums | str:
    file, kernel = file_of(type(call.kernel).__module__), call.kernel
    if file is None:
        return "it has no hardware yet"
    operands = [*kernel.roles(Role.INPUT), *kernel.roles(Role.OUTPUT)]
    wide = [operand.dtype for operand in operands if operand.dtype != "int8"]
    if wide:
        return f"activations of {wide[0]}"
    found: OverlaySums | str = file.windows(call, layouts)
    return found if isinstance(found, str) else found.refused or found


def drained(reading: Reading, buffer: str, outside: Outside) -> OverlayEnd:
    if buffer in reading.holds:
        tensor = reading.holds[buffer]
        return OverlayEnd(outside, tensor, reading.tensors[tensor])
    tensor, call = reading.tails[buffer]
    return OverlayEnd(outside, tensor, reading.tensors[tensor], stage_of(reading, call), call)


def refusal(call: Call, why: str) -> UserError:
    return UserError(f"{call.node} ({type(call.kernel).__name__}) has no overlay: {why}")


def alike(network: OverlayNetwork, lanes: int) -> Iterator[UserError]:
    """Where a tensor does not lie as who reads it must have it."""
    for step in network.steps:
        layouts = [network.tensors[name] for name in step.inputs]
        wanted = step.windows.given or tuple(layouts[0] for _ in layouts)
        for lies, asked in zip(layouts, wanted, strict=True):
            if not lies.seen(asked.pixels, asked.channels, lanes):
                yield refusal(
                    step.call,
                    f"it takes {asked.pixels} x {asked.channels} elements of what lies as {lies.pixels} x "
                    f"{lies.channels}, not in whole words of {lanes}",
                )


@cache
def file_of(operator: str) -> ModuleType | None:
    """The file of `nodes/` that is named as an operator's module is."""
    name = f"{nodes.__name__}.{operator.rpartition('.')[2]}"
    return import_module(name) if find_spec(name) else None
