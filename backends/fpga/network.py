"""A program as nodes and the streams between them.

Buffers are streams: a reshape is the same stream, a buffer that is read twice a stream that is duplicated. Float ports
are quantized and dequantized by whoever feeds the accelerator: what it must do is in the ports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.fpga.logic import MultiplierBlock
from bevel.backends.fpga.node import Folding, LogicNode, node_of
from bevel.backends.fpga.stage import BeatStream, Stage
from bevel.backends.fpga.verilog.text import identifier, unique
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.op import Bounds, of_type, of_values
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.program import Call, Port, Program
from bevel.calib.errors import UserError

HOST = -1  # the number of the node that is the world outside


@dataclass(frozen=True)
class Outside:
    """A port of the accelerator. `name`: of its stream; scale and zero_point: how floats become its integers, or the
    other way; None where the port is integers itself. dtype: of the integers."""

    port: Port
    name: str
    dtype: str
    bounds: Bounds
    scale: float | None = None
    zero_point: int = 0

    @property
    def elements(self) -> int:
        count = 1
        for length in self.port.shape:
            count *= length
        return count


@dataclass(frozen=True)
class StreamEdge:
    """A stream from a node's output to a place among another's inputs; HOST: from an input port, or to an output port,
    `place` its number then. fork: how many others read the same output."""

    source: int
    source_place: int
    target: int
    place: int

    @property
    def origin(self) -> tuple[int, int]:
        return self.source, self.source_place


@dataclass(frozen=True, eq=False)
class StreamNetwork:
    """nodes in the order of the program."""

    name: str
    nodes: tuple[LogicNode, ...]
    edges: tuple[StreamEdge, ...]
    inputs: tuple[Outside, ...]
    outputs: tuple[Outside, ...]

    def into(self, node: int) -> list[int]:
        """The edges that a node reads, in the order of its inputs."""
        found = [index for index, edge in enumerate(self.edges) if edge.target == node]
        return sorted(found, key=lambda index: self.edges[index].place)

    def out_of(self, origin: tuple[int, int]) -> list[int]:
        """The edges that read one output."""
        return [index for index, edge in enumerate(self.edges) if edge.origin == origin]


@dataclass(frozen=True, eq=False)
class Folded:
    """A network with the stages that its nodes become."""

    network: StreamNetwork
    foldings: tuple[Folding, ...]
    stages: tuple[tuple[Stage, ...], ...]

    @classmethod
    def of(cls, network: StreamNetwork, foldings: Sequence[Folding]) -> Folded:
        pairs = zip(network.nodes, foldings, strict=True)
        return cls(network, tuple(foldings), tuple(tuple(node.stages(one)) for node, one in pairs))

    def given(self, edge: StreamEdge) -> BeatStream:
        """What comes out where an edge begins. A port's beats are those of its first reader."""
        if edge.source != HOST:
            return self.stages[edge.source][-1].output
        port = self.network.inputs[edge.source_place]
        first = self.network.edges[self.network.out_of(edge.origin)[0]]
        if first.target == HOST:
            raise UserError(f"output {port.port.name} is an input, unchanged")
        return self.stages[first.target][0].inputs[first.place]

    def taken(self, edge: StreamEdge) -> BeatStream:
        """What goes in where an edge ends. An output port takes beats as they come."""
        return self.given(edge) if edge.target == HOST else self.stages[edge.target][0].inputs[edge.place]

    @property
    def cycles(self) -> int:
        """Of a frame in steady state: those of the slowest part."""
        of_stages = max(stage.cycles for stages in self.stages for stage in stages)
        edges = [(self.given(edge), self.taken(edge)) for edge in self.network.edges]
        return max(of_stages, *(max(given.beats, taken.beats) for given, taken in edges))


def network_of(program: Program, block: MultiplierBlock | None = None) -> StreamNetwork:
    """On a part with such multiplier blocks. Raises UserError for what is no stream: the node, and why."""
    known = with_bounds(program)
    calls = [call for call in known.calls if not isinstance(call.kernel, Copy)]
    names = unique(call.node for call in calls)
    inputs = tuple(entering(known, port) for port in known.inputs)
    outputs = tuple(leaving(known, port) for port in known.outputs)
    written: dict[str, tuple[int, int]] = {held(known, port): (HOST, place) for place, port in enumerate(known.inputs)}
    bounds = {held(known, outside.port): outside.bounds for outside in inputs}
    bounds |= {name: found for name, array in known.constants.items() if (found := of_values(array)) is not None}
    nodes: list[LogicNode] = []
    edges: list[StreamEdge] = []
    moved = iter(range(len(calls)))
    for call in known.calls:
        whole(known, call)
        if isinstance(call.kernel, Copy):
            written[call.output], bounds[call.output] = written[call.inputs[0]], bounds[call.inputs[0]]
            continue
        number = next(moved)
        held_here = {place: known.constants[name] for place, name in enumerate(call.inputs) if name in known.constants}
        node = node_of(call, names[number], tuple(bounds[name] for name in call.inputs), block, held_here)
        if isinstance(node, str):
            raise UserError(f"{call.node} ({type(call.kernel).__name__}) cannot be streamed: {node}")
        streams = [name for name in call.inputs if name not in known.constants]
        if not streams:
            raise UserError(f"{call.node}: a result that depends on no input is no stream")
        edges += [StreamEdge(*written[name], number, place) for place, name in enumerate(streams)]
        nodes.append(node)
        written[call.output], bounds[call.output] = (number, 0), node.result
    for place, port in enumerate(known.outputs):
        if held(known, port) not in written:
            raise UserError(f"output {port.name} depends on no input: it is no stream")
        edges.append(StreamEdge(*written[held(known, port)], HOST, place))
    return used(StreamNetwork(program.name, tuple(nodes), tuple(edges), inputs, outputs))


def used(network: StreamNetwork) -> StreamNetwork:
    """Raises UserError where something is read by nobody."""
    for number, node in enumerate(network.nodes):
        if not network.out_of((number, 0)):
            raise UserError(f"{node.call.node}: nobody reads its result")
    for place, port in enumerate(network.inputs):
        if not network.out_of((HOST, place)):
            raise UserError(f"nothing reads input {port.port.name}")
    return network


def whole(program: Program, call: Call) -> None:
    """Raises UserError for a call that reads or writes a part of a buffer, has several results or states."""
    spans = [*call.reads(), *call.writes()]
    parts = [span.buffer for span in spans if (span.first, span.end) != (0, program.buffers[span.buffer].bytes)]
    if parts or call.more or call.states:
        why = "keeps a state" if call.states else "has several results" if call.more else f"takes a part of {parts[0]}"
        raise UserError(f"{call.node} ({type(call.kernel).__name__}) cannot be streamed: it {why}")


def held(program: Program, port: Port) -> str:
    """The buffer of a port's integers."""
    if port.dtype != "float32":
        return port.buffer
    converted = [call for call in program.entries if call.inputs[0] == port.buffer]
    converted += [call for call in program.exits if call.output == port.buffer]
    return converted[0].output if converted[0] in program.entries else converted[0].inputs[0]


def entering(program: Program, port: Port) -> Outside:
    name = stream_name("s_axis", port, program.inputs)
    if port.dtype != "float32":
        return Outside(port, name, port.dtype, limits(port.dtype, port.name))
    found = [call.kernel for call in program.entries if call.inputs[0] == port.buffer]
    match found:
        case [Quantize() as kernel]:
            return Outside(port, name, kernel.dtype, limits(kernel.dtype, port.name), kernel.scale, kernel.zero_point)
    raise UserError(f"input {port.name} is not quantized once to integers: give --inputs quantized, or one format")


def leaving(program: Program, port: Port) -> Outside:
    name = stream_name("m_axis", port, program.outputs)
    if port.dtype != "float32":
        return Outside(port, name, port.dtype, limits(port.dtype, port.name))
    found = [call.kernel for call in program.exits if call.output == port.buffer]
    if found and all(isinstance(kernel, Dequantize) for kernel in found):
        kernel = found[0]
        assert isinstance(kernel, Dequantize)
        return Outside(port, name, kernel.dtype, limits(kernel.dtype, port.name), kernel.scale, kernel.zero_point)
    raise UserError(f"output {port.name} is not dequantized from one tensor of integers: give --outputs quantized")


def limits(dtype: str, port: str) -> Bounds:
    found = of_type(dtype)
    if found is None or found[0] >= 0:
        raise UserError(f"port {port} has elements of {dtype}: streams carry signed integers")
    return found


def stream_name(prefix: str, port: Port, ports: Sequence[Port]) -> str:
    return prefix if len(ports) == 1 else f"{prefix}_{identifier(port.name)}"
