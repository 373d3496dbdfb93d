"""The accelerator in overlay mode: its unit, streams around it, and a read master for the program in memory."""

from __future__ import annotations

from collections.abc import Iterator

from bevel.backends.fpga.overlay.assembly import Assembled
from bevel.backends.fpga.overlay.network import OverlayEnd
from bevel.backends.fpga.overlay.unit import ROOM, OverlayUnit
from bevel.backends.fpga.stage import BeatStream
from bevel.backends.fpga.stages import dot
from bevel.backends.fpga.top import Wires, instance, padded
from bevel.backends.fpga.verilog.text import HardwareCounter, counters, number


def outer(end: OverlayEnd, lanes: int, comes: bool) -> BeatStream:
    """The stream outside."""
    if end.stage is None:
        return end.words_stream(lanes)
    return end.stage.inputs[0] if comes else end.stage.output


def overlay_top(made: Assembled, unit: OverlayUnit, cycles: int) -> str:
    """The module `<model>_top`."""
    network, lanes = made.network, unit.lanes
    ports = ["    input  wire clk", "    input  wire rst", *register_ports(), *memory_ports(8 * lanes)]
    for comes, ends in ((True, network.inputs), (False, network.outputs)):
        away, back = ("input ", "output") if comes else ("output", "input ")
        for end in ends:
            name, width = end.outside.name, padded(outer(end, lanes, comes).width)
            ports += [f"    {away} wire [{width - 1}:0] {name}_tdata", f"    {away} wire {name}_tvalid"]
            ports += [f"    {back} wire {name}_tready", f"    {away} wire {name}_tlast"]
    parts = [unit_text(made, unit)]
    for place, end in enumerate(network.inputs):
        parts += incoming(end, place, lanes)
    for place, end in enumerate(network.outputs):
        parts += outgoing(end, place, lanes)
    body, listed = "\n".join(parts), ",\n".join(ports)
    return f"""// {network.name}: {cycles} cycles a frame.
//
// Its program lies in memory where a register says: mem/program.mem, a beat a line.
module {network.name}_top (
{listed}
);
{body}
endmodule
"""


REGISTER_PORTS = (
    ("[4:0] awaddr", "awvalid", "[31:0] wdata", "[3:0] wstrb", "wvalid", "bready", "[4:0] araddr", "arvalid", "rready"),
    ("awready", "wready", "[1:0] bresp", "bvalid", "arready", "[31:0] rdata", "[1:0] rresp", "rvalid"),
)


def register_ports() -> Iterator[str]:
    """AXI-Lite."""
    for direction, names in zip(("input ", "output"), REGISTER_PORTS, strict=True):
        for name in names:
            *width, plain = name.split()
            yield " ".join([f"    {direction} wire", *width, f"s_axi_{plain}"])


def memory_ports(bus: int) -> list[str]:
    """The read half of AXI."""
    given = ("[31:0] araddr", "[7:0] arlen", "[2:0] arsize", "[1:0] arburst", "[3:0] arcache", "[2:0] arprot")
    found = []
    for one in given:
        width, name = one.split()
        found.append(f"    output wire {width} m_axi_{name}")
    found += ["    output wire m_axi_arvalid", "    input  wire m_axi_arready"]
    found += [f"    input  wire [{bus - 1}:0] m_axi_rdata", "    input  wire [1:0] m_axi_rresp"]
    return [*found, "    input  wire m_axi_rlast", "    input  wire m_axi_rvalid", "    output wire m_axi_rready"]


def unit_text(made: Assembled, unit: OverlayUnit) -> str:
    bus, (inputs, outputs) = 8 * unit.lanes, (len(made.network.inputs), len(made.network.outputs))
    size = number((unit.lanes - 1).bit_length(), 3)
    parameters = {
        "LANES": unit.lanes, "PER": unit.per, "WORDS": made.weight_words, "HELD": made.words, "INPUTS": inputs,
        "OUTPUTS": outputs, "DOT": dot.latency(unit.lanes), "BITS": unit.sum_bits,
        "TABLES": int(made.network.tables), "PAIRS": int(made.network.pairs),
    }  # fmt: skip
    told = Wires("program", bus)
    streams = [("program", told), ("s", Wires("given", inputs * bus)), ("m", Wires("made", bus))]
    return f"""{registers()}
  assign m_axi_arsize = {size};
  assign m_axi_arburst = 2'b01;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot = 3'b000;
{told.declared()}
  bevel_program_reader #(
      .BUS({bus}),
      .BEATS({made.beats}),
      .ROOM({ROOM})
  ) reader (
      .clk(clk),
      .rst(rst),
      .base(program_base),
      .run(run),
      .araddr(m_axi_araddr),
      .arlen(m_axi_arlen),
      .arvalid(m_axi_arvalid),
      .arready(m_axi_arready),
      .rdata(m_axi_rdata),
      .rvalid(m_axi_rvalid),
      .rready(m_axi_rready),
{told.joined("m")}
  );
  wire [{inputs * bus - 1}:0] given_data;
  wire [{inputs - 1}:0] given_valid, given_ready;
  wire [{bus - 1}:0] made_data;
  wire [{outputs - 1}:0] made_valid, made_ready;
{instance("bevel_overlay", "overlay", parameters, streams, ("run", "begun", "finished"))}"""


def registers() -> str:
    """What a processor sees."""
    answered = [name.split()[-1] for names in REGISTER_PORTS for name in names]
    joined = "".join(f"      .{name}(s_axi_{name}),\n" for name in answered if name not in ("wstrb", "bresp", "rresp"))
    return f"""  wire [31:0] program_base;
  wire run, begun, finished;
  assign s_axi_bresp = 2'b00;
  assign s_axi_rresp = 2'b00;
  bevel_registers registers (
      .clk(clk),
      .rst(rst),
{joined}      .begun(begun),
      .finished(finished),
      .run(run),
      .base(program_base)
  );"""


def frame(end: OverlayEnd, lanes: int) -> dict[str, object]:
    full, last, words = end.beats(lanes)
    return {"LANES": lanes, "BITS": 8, "BEAT": end.beat(lanes), "FULL": full, "LAST": last, "WORDS": words}


def incoming(end: OverlayEnd, place: int, lanes: int) -> Iterator[str]:
    """From an AXI stream to words of the unit."""
    name, stream = end.outside.name, outer(end, lanes, True)
    wires = Wires(f"from_{name}", stream.width)
    yield f"""
  // {end.outside.port.name}
{wires.declared()}
  assign {wires.prefix}_data = {name}_tdata[{wires.width - 1}:0];
  assign {wires.prefix}_valid = {name}_tvalid;
  assign {name}_tready = {wires.prefix}_ready;"""
    if end.stage is not None:
        turned = Wires(f"inside_{end.stage.name}", end.stage.output.width)
        yield turned.declared()
        yield instance(end.stage.name, f"{end.stage.name}_i", {}, [("s", wires), ("m", turned)])
        wires = turned
    words = Wires(f"words_{name}", 8 * lanes)
    yield words.declared()
    yield instance("bevel_frame_in", f"{name}_words", frame(end, lanes), [("s", wires), ("m", words)])
    yield f"""  assign given_data[{8 * lanes * place}+:{8 * lanes}] = {words.prefix}_data;
  assign given_valid[{place}] = {words.prefix}_valid;
  assign {words.prefix}_ready = given_ready[{place}];"""


def outgoing(end: OverlayEnd, place: int, lanes: int) -> Iterator[str]:
    """From words of the unit to an AXI stream."""
    name, stream = end.outside.name, outer(end, lanes, False)
    words, wires = Wires(f"words_{name}", 8 * lanes), Wires(f"to_{name}", end.words_stream(lanes).width)
    yield f"""
  // {end.outside.port.name}
{words.declared()}
{wires.declared()}
  assign {words.prefix}_data = made_data;
  assign {words.prefix}_valid = made_valid[{place}];
  assign made_ready[{place}] = {words.prefix}_ready;"""
    yield instance("bevel_frame_out", f"{name}_beats", frame(end, lanes), [("s", words), ("m", wires)])
    if end.stage is not None:
        turned = Wires(f"inside_{end.stage.name}", end.stage.output.width)
        yield turned.declared()
        yield instance(end.stage.name, f"{end.stage.name}_i", {}, [("s", wires), ("m", turned)])
        wires = turned
    beat = HardwareCounter(f"{name}_beat", stream.beats)
    spare = padded(wires.width) - wires.width
    data = f"{{{number(0, spare)}, {wires.prefix}_data}}" if spare else f"{wires.prefix}_data"
    yield f"""{counters([beat], f"{name}_tvalid && {name}_tready")}
  assign {name}_tdata = {data};
  assign {name}_tvalid = {wires.prefix}_valid;
  assign {name}_tlast = {name}_beat_last;
  assign {wires.prefix}_ready = {name}_tready;"""
