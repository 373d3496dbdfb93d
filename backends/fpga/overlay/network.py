"""A program as steps of the overlay, one after the other, and what stands at its ends.

A Transpose of what comes in, and a Softmax, an ArgMax or a Transpose of what goes out are stages of their own on the
streams there, as in a streaming design.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from math import gcd, prod
from types import ModuleType

from bevel.backends.fpga.network import Outside, entering, held, leaving, whole
from bevel.backends.fpga.node import Folding, node_of
from bevel.backends.fpga.overlay import nodes
from bevel.backends.fpga.overlay.layout import PixelLayout
from bevel.backends.fpga.overlay.orders import with_transposed_inputs
from bevel.backends.fpga.overlay.pairs import SumsOfTwo
from bevel.backends.fpga.overlay.windows import OverlaySums
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.verilog.text import unique
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.op import Array, Role
from bevel.backends.program.ops.arg_max import ArgMax
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.round_even import RoundEven
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

    @property
    def pairs(self) -> bool:
        """Whether tensors are read beside each other."""
        return any(isinstance(step.windows, SumsOfTwo) for step in self.steps)


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
    sums: dict[str, OverlayStep] = field(default_factory=dict)  # that are to be rounded

    def readers(self, buffer: str) -> list[Call]:
        return [call for call in self.calls if buffer in call.inputs]

    def constants(self, call: Call) -> dict[int, Array]:
        """The inputs of a call that are constant, by their places."""
        known = self.program.constants
        return {place: known[name] for place, name in enumerate(call.inputs) if name in known}

    def streams(self, call: Call) -> list[str]:
        """The inputs of a call that are not."""
        return [name for name in call.inputs if name not in self.program.constants]


def overlay_network(program: Program) -> OverlayNetwork:
    """Raises UserError for what the overlay has no hardware for: the node, and why."""
    known = with_bounds(with_transposed_inputs(program))
    ports = [(port, entering(known, port)) for port in known.inputs]
    ends = [(port, leaving(known, port)) for port in known.outputs]
    if max(len(ports), len(ends)) > MOST_PORTS:
        raise UserError(f"{program.name} has no overlay: more than {MOST_PORTS} inputs or outputs")
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
        streams = reading.streams(call)
        found = None if isinstance(call.kernel, Copy | RoundEven) else windows_of(reading, call, (lies,) * len(streams))
        if isinstance(found, OverlaySums) and found.given:
            return found.given[streams.index(buffer)]
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
    streams = reading.streams(call)
    if not streams:
        raise refusal(call, "its result depends on no input")
    for name in streams:
        if name in reading.sums:
            rounded(reading, call, reading.sums[name])
            return
    behind = [name for name in streams if name not in reading.holds]
    if behind:
        raise refusal(call, f"it is behind {reading.tails[behind[0]][1].node}, which has hardware only at the end")
    given = tuple(reading.holds[name] for name in streams)
    if isinstance(call.kernel, Copy):
        reading.holds[call.output] = given[0]
        return
    if isinstance(call.kernel, AT_ENDS):
        reading.tails[call.output] = given[0], call
        return
    layouts = tuple(reading.tensors[name] for name in given)
    found = windows_of(reading, call, layouts)
    if isinstance(found, str):
        raise refusal(call, found)
    step = OverlayStep(call, found, given, call.output)
    if found.rescaling.output.dtype == "int32":
        reading.sums[call.output] = step
    else:
        made(reading, step)


def made(reading: Reading, step: OverlayStep) -> None:
    reading.steps.append(step)
    reading.holds[step.output], reading.tensors[step.output] = step.output, step.windows.made


def rounded(reading: Reading, call: Call, sums: OverlayStep) -> None:
    """A step, of sums that `call` alone reads."""
    if not isinstance(call.kernel, RoundEven):
        raise refusal(call, "activations of int32")
    found = sums.windows.rescaling.rounded(call.kernel)
    windows = found if isinstance(found, str) else replace(sums.windows, rescaling=found)
    if isinstance(windows, str) or windows.refused:
        raise refusal(call, windows if isinstance(windows, str) else windows.refused or "")
    made(reading, replace(sums, windows=windows, output=call.output))


def windows_of(reading: Reading, call: Call, layouts: tuple[PixelLayout, ...]) -> OverlaySums | str:
    file, kernel, held = file_of(type(call.kernel).__module__), call.kernel, reading.constants(call)
    if file is None:
        return "it has no hardware yet"
    wide = [operand.dtype for operand in kernel.roles(Role.INPUT) if operand.dtype != "int8"]
    wide += [operand.dtype for operand in kernel.roles(Role.OUTPUT) if operand.dtype not in ("int8", "int32")]
    if wide:
        return f"activations of {wide[0]}"
    if held and not hasattr(file, "HOLDS"):
        return "one of its inputs is constant"
    found: OverlaySums | str = (
        file.windows(call, layouts, held) if hasattr(file, "HOLDS") else file.windows(call, layouts)
    )
    if isinstance(found, str) or found.rescaling.output.dtype == "int32":
        return found
    return found.refused or found


def drained(reading: Reading, buffer: str, outside: Outside) -> OverlayEnd:
    if buffer in reading.holds:
        tensor = reading.holds[buffer]
        return OverlayEnd(outside, tensor, reading.tensors[tensor])
    if buffer in reading.sums:
        raise refusal(reading.sums[buffer].call, "activations of int32")
    if buffer not in reading.tails:
        raise UserError(f"output {outside.port.name} depends on no input: it has no overlay")
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
