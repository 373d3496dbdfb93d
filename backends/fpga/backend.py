"""Programmable logic: an accelerator in Verilog, as large as a part has room for, and its test bench.

A program becomes one module for each node, with FIFOs between them (`network.py`, `nodes/`, `stages/`, `top.py`); how
much of each stands side by side is searched (`search.py`) or given (`folding_file.py`); how deep FIFOs must be follows
from a model of all cycles (`timing.py`). Where a part has no room for all nodes beside each other, one unit computes
them one after the other, by a program and weights that are read from memory (`overlay/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bevel.backends.backend import Begin, Designing, Kernels, Linked, Product, Source
from bevel.backends.binary.artifact import Artifact, BuiltCall, Slot, checksums
from bevel.backends.devices.base import Device, Vectors
from bevel.backends.fpga import folding_file, search, timing
from bevel.backends.fpga.design import INTERFACE, Design, design
from bevel.backends.fpga.logic import block
from bevel.backends.fpga.makefile import makefile
from bevel.backends.fpga.network import network_of
from bevel.backends.fpga.node import Folding
from bevel.backends.fpga.overlay.design import described_calls, fitted, overlay_design
from bevel.backends.fpga.overlay.network import overlay_network
from bevel.backends.fpga.simulation import bench
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Op
from bevel.backends.program.program import Port, Program
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.select.rules import Rule
from bevel.backends.target import Target
from bevel.calib.errors import UserError

RTL, MEMORIES, BENCH = "rtl", "mem", "tb"


class NoLibraryError(TypeError):
    """Logic is no library: our bug."""


@dataclass(frozen=True)
class Fpga:
    def rules(self) -> Mapping[str, Rule]:
        return {}

    def estimate(self, op: Op, target: Target) -> Resources:
        """In multiplications: what a node takes depends on its folding."""
        return Resources({Resource.MACS: op.macs or 1})

    def arranged(self, program: Program) -> Program:
        return program

    def emit(self, code: Kernels, target: Target, begin: Begin) -> Sequence[Source]:
        raise NoLibraryError(target.name)

    def plan(self, program: Program, in_place: bool = True, quick: bool = False) -> Plan:
        return no_plan(len(program.calls))

    def link(self, product: Product, begin: Begin) -> Linked:
        raise NoLibraryError(product.target.name)

    def device(self, name: str, target: Target) -> Device | None:
        """Modules are imported when a target asks for them."""
        if name == "verilator":
            from bevel.backends.fpga.simulation.device import Simulated

            return Simulated(target)
        return None

    def design(
        self, program: Program, target: Target, folder: Path, vectors: Vectors | None, wanted: Designing
    ) -> Artifact:
        wanted.tell(0, 3, "design")
        made = chosen(program, target, wanted)
        wanted.tell(2, 3, "Verilog")
        write(made, folder, vectors)
        artifact = described(program, target, folder, made)
        if not wanted.synthesize:
            return artifact
        from bevel.backends.fpga.synthesis import synthesize

        wanted.tell(3, 4, "synthesis")
        return replace(artifact, synthesized=synthesize(folder, made.design.top, target))


@dataclass(frozen=True, eq=False)
class LogicProduct:
    """A design in whichever mode. texts: further files; calls: of the program, and what each is called in the report;
    takes: an estimate; mode: in words."""

    design: Design
    texts: Mapping[str, str]
    calls: Sequence[tuple[str, str, str, int]]
    takes: Resources
    mode: str


def chosen(program: Program, target: Target, wanted: Designing) -> LogicProduct:
    """In the mode that is asked for; without one streaming, or an overlay where the part has no room for that. Raises
    UserError where there is neither."""
    if wanted.mode == "overlay":
        if wanted.folding is not None:
            raise UserError("a folding is of a streaming design: not with --logic-mode overlay")
        return overlaid(program, target)
    try:
        return streamed(program, target, wanted)
    except UserError as error:
        if wanted.mode == "streaming" or wanted.folding is not None:
            raise
        try:
            return overlaid(program, target)
        except UserError as other:
            raise UserError(f"{error}; in overlay mode: {other}") from None


def streamed(program: Program, target: Target, wanted: Designing) -> LogicProduct:
    network = network_of(program, block(target.abilities))
    given = None if wanted.folding is None else folding_file.read(wanted.folding)
    folded, capacities = search.fitted(network, target.others, given)
    wanted.tell(1, 3, "cycles")
    made = design(folded, capacities, timing.modelled(folded))
    nodes = zip(network.nodes, folded.foldings, strict=True)
    calls = [
        (node.call.node, node.name, told(node.call.kernel, folding), node.call.kernel.macs) for node, folding in nodes
    ]
    texts = {folding_file.NAME: folding_file.text(folded)}
    return LogicProduct(made, texts, calls, search.estimated(folded, capacities), "streaming")


def overlaid(program: Program, target: Target) -> LogicProduct:
    overlay = fitted(overlay_network(program), target.others)
    return LogicProduct(
        overlay_design(overlay), {}, list(described_calls(overlay)), overlay.takes, f"overlay of {overlay.unit.told}"
    )


def write(made: LogicProduct, folder: Path, vectors: Vectors | None) -> None:
    """The bundle's own files."""
    found, interface = made.design, made.design.interface
    texts = {f"{RTL}/{name}": text for name, text in found.rtl.items()}
    texts |= {f"{MEMORIES}/{name}": text for name, text in found.memories.items()}
    texts |= {f"{BENCH}/{bench.FILE}": bench.bench(interface), INTERFACE: interface.text()}
    texts |= {"Makefile": makefile(found), **made.texts}
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if vectors is not None:
        for axis in interface.inputs:
            (folder / BENCH / f"{axis.name}.in").write_bytes(axis.packed(vectors.inputs[axis.port]))
        for axis in interface.outputs:
            (folder / BENCH / f"{axis.name}.expected").write_bytes(axis.repacked(vectors.expected[axis.port]))


def described(program: Program, target: Target, folder: Path, made: LogicProduct) -> Artifact:
    top = made.design.top
    return Artifact(
        model=program.name,
        target=target.name,
        folder=folder,
        files=checksums(folder),
        header=INTERFACE,
        library=None,
        archive=f"{RTL}/{top}.v",
        firmware=None,
        entry=top,
        reset=None,
        inputs=slots(program.inputs),
        outputs=slots(program.outputs),
        plan=no_plan(len(made.calls)),
        calls=tuple(BuiltCall(*call) for call in made.calls),
        toolchain=f"Bevel's own Verilog, {made.mode}",
        takes=made.takes,
    )


def told(op: Op, folding: Folding) -> str:
    """What a node is called in the report: with its folding, where it multiplies."""
    name = type(op).__name__
    if not op.macs:
        return name
    return f"{name}, PE {folding.outputs}, SIMD {folding.rows * folding.channels}, {folding.multiplier}"


def no_plan(calls: int) -> Plan:
    """Everything flows: nothing lies in an arena."""
    return Plan({}, {}, {}, ((),) * calls, ((),) * calls, (), 0, 0)


def slots(ports: Sequence[Port]) -> tuple[Slot, ...]:
    return tuple(Slot(port, 0) for port in ports)


BACKEND = Fpga()
