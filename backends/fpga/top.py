"""The accelerator: its nodes, a FIFO on each stream between them, and AXI streams around it.

TDATA is padded to whole bytes, TLAST is high with the last beat of a frame. What comes in is counted, not framed: the
TLAST of inputs is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from bevel.backends.fpga.network import HOST, Folded, StreamEdge
from bevel.backends.fpga.stage import BeatStream
from bevel.backends.fpga.verilog.text import HardwareCounter, counters, number, port_letters

LEAST = 3  # beats of a FIFO
SKID = 2  # beats of a register slice


@dataclass(frozen=True)
class Queue:
    """The FIFO of an edge, in beats of its reader: a register slice, or a memory of `capacity` beats."""

    name: str
    capacity: int


def queue_names(folded: Folded) -> list[str]:
    """Of each edge, by what reads it."""
    found = []
    for edge in folded.network.edges:
        if edge.target == HOST:
            found.append(f"{folded.network.outputs[edge.place].name}_fifo")
            continue
        node = folded.network.nodes[edge.target]
        found.append(f"{node.name}_fifo" + ("" if node.streams == 1 else f"_{port_letters(node.streams)[edge.place]}"))
    return found


def padded(width: int) -> int:
    """A stream's TDATA: whole bytes."""
    return -(-width // 8) * 8


@dataclass(frozen=True)
class Wires:
    """A stream's wires by their prefix: <prefix>_data, _valid, _ready."""

    prefix: str
    width: int

    def declared(self) -> str:
        return (
            f"  wire [{self.width - 1}:0] {self.prefix}_data;\n  wire {self.prefix}_valid;\n  wire {self.prefix}_ready;"
        )

    def joined(self, port: str) -> str:
        return ",\n".join(f"      .{port}_{part}({self.prefix}_{part})" for part in ("data", "valid", "ready"))


def instance(
    module: str,
    name: str,
    parameters: Mapping[str, object],
    streams: Sequence[tuple[str, Wires]],
    same: Sequence[str] = (),
) -> str:
    """An instance, with the streams at its ports; `same`: further ports, on wires of the same name."""
    given = ",\n".join(f"      .{key}({value})" for key, value in parameters.items())
    head = f"  {module} #(\n{given}\n  ) {name}" if given else f"  {module} {name}"
    joined = ",\n".join(wires.joined(port) for port, wires in streams)
    plain = "".join(f"      .{port}({port}),\n" for port in ("clk", "rst", *same))
    return f"{head} (\n{plain}{joined}\n  );"


def top(folded: Folded, capacities: Sequence[int]) -> str:
    """The module `<model>_top`. capacities: of each edge's FIFO, in beats of its reader."""
    network = folded.network
    parts = [*input_ports(folded)]
    for place in range(len(network.inputs)):
        parts += connections(folded, (HOST, place), capacities)
    for node in range(len(network.nodes)):
        parts += [*instances(folded, node), *connections(folded, (node, 0), capacities)]
    parts += output_ports(folded)
    ports = ["    input  wire clk", "    input  wire rst"]
    for outside in network.inputs:
        width = padded(folded.given(first_edge(folded, outside.name)).width)
        ports += [f"    input  wire [{width - 1}:0] {outside.name}_tdata", f"    input  wire {outside.name}_tvalid"]
        ports += [f"    output wire {outside.name}_tready", f"    input  wire {outside.name}_tlast"]
    for outside in network.outputs:
        width = padded(folded.taken(last_edge(folded, outside.name)).width)
        ports += [f"    output wire [{width - 1}:0] {outside.name}_tdata", f"    output wire {outside.name}_tvalid"]
        ports += [f"    input  wire {outside.name}_tready", f"    output wire {outside.name}_tlast"]
    body = "\n".join(parts)
    listed = ",\n".join(ports)
    return f"""// {network.name}: {folded.cycles} cycles a frame at least, by the slowest part.
module {network.name}_top (
{listed}
);
{body}
endmodule
"""


def first_edge(folded: Folded, name: str) -> StreamEdge:
    network = folded.network
    place = [outside.name for outside in network.inputs].index(name)
    return network.edges[network.out_of((HOST, place))[0]]


def last_edge(folded: Folded, name: str) -> StreamEdge:
    place = [outside.name for outside in folded.network.outputs].index(name)
    return next(edge for edge in folded.network.edges if edge.target == HOST and edge.place == place)


def origin_wires(folded: Folded, edge: StreamEdge) -> Wires:
    """What an edge begins with."""
    network = folded.network
    name = network.inputs[edge.source_place].name if edge.source == HOST else network.nodes[edge.source].name
    return Wires(f"from_{name}", folded.given(edge).width)


def end_wires(folded: Folded, edge: StreamEdge) -> Wires:
    """What an edge ends with, behind its FIFO."""
    name = queue_names(folded)[folded.network.edges.index(edge)].removesuffix("_fifo").replace("_fifo_", "_")
    return Wires(f"to_{name}", folded.taken(edge).width)


def instances(folded: Folded, node: int) -> Iterator[str]:
    """The stages of a node, one behind the other."""
    network, one = folded.network, folded.network.nodes[node]
    given = [end_wires(folded, network.edges[index]) for index in network.into(node)]
    yield f"\n  // {one.call.node}"
    for stage in folded.stages[node]:
        last = stage is folded.stages[node][-1]
        made = Wires(f"from_{one.name}" if last else f"inside_{stage.name}", stage.output.width)
        yield made.declared()
        streams = [*zip(port_letters(len(given)), given, strict=True), ("m", made)]
        yield instance(stage.name, f"{stage.name}_i", {}, streams)
        given = [made]


def connections(folded: Folded, origin: tuple[int, int], capacities: Sequence[int]) -> Iterator[str]:
    """From an output to all that read it."""
    readers = folded.network.out_of(origin)
    branches = [origin_wires(folded, folded.network.edges[readers[0]])]
    while len(branches) < len(readers):
        taken = branches.pop()
        two = [Wires(f"{taken.prefix}_{branch}", taken.width) for branch in "ab"]
        yield "\n".join(one.declared() for one in two)
        streams = [("s", taken), ("a", two[0]), ("b", two[1])]
        yield instance("bevel_fork", f"{taken.prefix}_fork", {"WIDTH": taken.width}, streams)
        branches += two
    for index, branch in zip(readers, branches, strict=True):
        yield from queue(folded, index, branch, capacities[index])


def queue(folded: Folded, index: int, given: Wires, capacity: int) -> Iterator[str]:
    """An edge: beats of another width where its reader takes such, and its FIFO."""
    edge = folded.network.edges[index]
    source, target = folded.given(edge), folded.taken(edge)
    name = queue_names(folded)[index]
    wires = given
    for place, (module, stream, times) in enumerate(conversions(source, target)):
        made = Wires(f"{name}_{place}", stream.width)
        yield made.declared()
        narrower = min(wires.width, made.width)
        yield instance(module, f"{made.prefix}_i", {"WIDTH": narrower, "TIMES": times}, [("s", wires), ("m", made)])
        wires = made
    end = end_wires(folded, edge)
    yield end.declared()
    if capacity < LEAST:
        yield instance("bevel_skid", name, {"WIDTH": target.width}, [("s", wires), ("m", end)])
    else:
        parameters = {"WIDTH": target.width, "CAPACITY": capacity, "NAME": f'"{name}"'}
        yield instance("bevel_fifo", name, parameters, [("s", wires), ("m", end)])


def conversions(source: BeatStream, target: BeatStream) -> list[tuple[str, BeatStream, int]]:
    """From the lanes of one stream to those of another, by the largest number that divides both."""
    common = gcd(source.lanes, target.lanes)
    middle = BeatStream(source.elements, common, source.bounds, source.bits)
    found = []
    if source.lanes > common:
        found.append(("bevel_narrow", middle, source.lanes // common))
    if target.lanes > common:
        wide = BeatStream(source.elements, target.lanes, source.bounds, source.bits)
        found.append(("bevel_widen", wide, target.lanes // common))
    return found


def input_ports(folded: Folded) -> Iterator[str]:
    """From AXI streams."""
    for outside in folded.network.inputs:
        wires = origin_wires(folded, first_edge(folded, outside.name))
        yield f"""
  // {outside.port.name}
{wires.declared()}
  assign {wires.prefix}_data = {outside.name}_tdata[{wires.width - 1}:0];
  assign {wires.prefix}_valid = {outside.name}_tvalid;
  assign {outside.name}_tready = {wires.prefix}_ready;"""


def output_ports(folded: Folded) -> Iterator[str]:
    """To AXI streams."""
    for outside in folded.network.outputs:
        edge = last_edge(folded, outside.name)
        wires, stream = end_wires(folded, edge), folded.taken(edge)
        beat = HardwareCounter(f"{outside.name}_beat", stream.beats)
        spare = padded(wires.width) - wires.width
        data = f"{{{number(0, spare)}, {wires.prefix}_data}}" if spare else f"{wires.prefix}_data"
        yield f"""
  // {outside.port.name}
{counters([beat], f"{outside.name}_tvalid && {outside.name}_tready")}
  assign {outside.name}_tdata = {data};
  assign {outside.name}_tvalid = {wires.prefix}_valid;
  assign {outside.name}_tlast = {outside.name}_beat_last;
  assign {wires.prefix}_ready = {outside.name}_tready;"""
