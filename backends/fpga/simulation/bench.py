"""The test bench of an accelerator: `bench.cpp.in` with its streams."""

from __future__ import annotations

from importlib.resources import files

from bevel.backends.fpga.design import AxiStream, StreamInterface

FILE = "bench.cpp"
QUIET = (
    "m_axi_arready",
    "m_axi_rvalid",
    "s_axi_awvalid",
    "s_axi_wvalid",
    "s_axi_bready",
    "s_axi_arvalid",
    "s_axi_rready",
)
BEGIN = """  top.clk = 0;
  write_register(top, 0x10, Memory::BASE);
  write_register(top, 0x00, 1);
"""
END = """  top.clk = top.m_axi_arready = top.m_axi_rvalid = 0;
  for (int wait = 0; wait < 8 && read_register(top, 0x04); ++wait) {
  }
  std::printf("register cycles %u frames %u\\n", read_register(top, 0x08), read_register(top, 0x0c));
"""


def bench(interface: StreamInterface) -> str:
    template = packaged("bench.cpp.in")
    given, made = interface.inputs, interface.outputs
    frames = f"{given[0].name}.data.size() / {given[0].beats * given[0].beat_bytes}"
    streams = [f'  Source {one.name}{{contents("{one.name}.in"), {one.beat_bytes}}};' for one in given]
    streams += [f"  Sink {one.name}{{{{}}, {one.beat_bytes}, {one.beats}, {frames} * {one.beats}}};" for one in made]
    quiet = [f"  top.{one.name}_tvalid = 0;\n  top.{one.name}_tlast = 0;" for one in given]
    quiet += [f"  top.{one.name}_tready = 0;" for one in made]
    if interface.memory:
        streams.append(f'  Memory memory{{program("program.mem"), {interface.memory}}};')
        quiet += [f"  top.{name} = 0;" for name in QUIET]
    parts = {
        "MODEL": interface.model,
        "TOP": f"{interface.model}_top",
        "STREAMS": "\n".join(streams),
        "QUIET": "\n".join(quiet),
        "UNFINISHED": " || ".join(f"{one.name}.taken() < {one.name}.wanted" for one in made),
        "OFFER": "\n".join([*map(offer, given), *map(accept, made), *memory_offers(interface.memory)]),
        "MOVE": "\n".join([*map(sent, given), *map(received, made), *memory_answers(interface.memory)]),
        "CLOSE": "\n".join(map(written, made)),
        "BEGIN": BEGIN if interface.memory else "",
        "END": END if interface.memory else "",
        "MEMORY": packaged("memory.cpp.in") if interface.memory else "",
    }
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template


def packaged(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def memory_offers(beat: int) -> list[str]:
    """Before a clock: what memory offers, in beats of so many bytes; nothing where there is none."""
    text = f"""    memory.prepare(random, cycle);
    top.m_axi_arready = memory.asks;
    top.m_axi_rvalid = memory.gives;
    top.m_axi_rlast = memory.ends();
    if (memory.gives) put(top.m_axi_rdata, memory.beat(), {beat});"""
    return [text] if beat else []


def memory_answers(beat: int) -> list[str]:
    """What has moved with the clock."""
    text = """    if (memory.asks && top.m_axi_arvalid) {
      memory.asked(random, cycle, top.m_axi_araddr, top.m_axi_arlen + 1);
    }
    if (memory.gives && top.m_axi_rready) memory.given();"""
    return [text] if beat else []


def offer(axis: AxiStream) -> str:
    """A beat that is offered stays until it is taken."""
    name = axis.name
    return f"""    if (!{name}.offered && {name}.more() && random.open()) {name}.offered = true;
    top.{name}_tvalid = {name}.offered;
    if ({name}.offered) put(top.{name}_tdata, &{name}.data[{name}.at], {axis.beat_bytes});"""


def accept(axis: AxiStream) -> str:
    return f"    top.{axis.name}_tready = random.open();"


def sent(axis: AxiStream) -> str:
    name = axis.name
    return f"""    if (top.{name}_tvalid && top.{name}_tready) {{
      if (!started) begun = cycle;
      started = true;
      idle = 0;
      {name}.at += {axis.beat_bytes};
      {name}.offered = false;
    }}"""


def received(axis: AxiStream) -> str:
    name = axis.name
    return f"""    if (top.{name}_tvalid && top.{name}_tready) {{
      idle = 0;
      get(top.{name}_tdata, {name}.data, {axis.beat_bytes});
      const bool last = {name}.taken() % {axis.beats} == 0;
      if (last != static_cast<bool>(top.{name}_tlast)) std::printf("tlast wrong on {name}\\n");
      if (last) std::printf("frame {name} %llu\\n", static_cast<unsigned long long>(cycle - begun + 1));
    }}"""


def written(axis: AxiStream) -> str:
    return f"""  if (FILE* file = std::fopen("{axis.name}.out", "wb")) {{
    std::fwrite({axis.name}.data.data(), 1, {axis.name}.data.size(), file);
    std::fclose(file);
  }}"""
