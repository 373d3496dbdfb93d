"""What a device is, and what it may say about a model: nothing about speed unless every output element was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.cycles import FrameCycles
from bevel.backends.devices.outputs import compare
from bevel.backends.program.op import Array
from bevel.backends.program.resources import NOTHING, Resource, Resources

DeviceKind = Literal["board", "simulator", "host"]
SSH = "ssh://"  # how the name of boards over SSH begins
RPC = "rpc://"  # how that of boards of TVM's RPC tracker does
REMOTE = (SSH, RPC)
SERIAL = "serial:"  # how the name of a board on a port begins, which no target's file can know


@dataclass(frozen=True)
class Vectors:
    """Test inputs and what integer.onnx gives for them in onnxruntime: {port name: array [N, *port shape]}. `begins`:
    of a model with state, whether a sequence begins with each, bool [N]; None: with every one."""

    inputs: dict[str, Array]
    expected: dict[str, Array]
    begins: Array | None = None

    def __post_init__(self) -> None:
        counts = {len(array) for array in (*self.inputs.values(), *self.expected.values(), self.starts)}
        if len(counts) != 1:
            raise ValueError(f"inputs and expected outputs hold different numbers of samples: {sorted(counts)}")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def starts(self) -> Array:
        """`begins`, said of every vector."""
        return np.ones(len(self), np.bool_) if self.begins is None else self.begins


@dataclass(frozen=True)
class CallCost:
    """What one kernel call spends: `call` indexes Program.calls."""

    call: int
    spent: Resources = NOTHING


def instructions(count: int) -> Resources:
    """What a simulator counted."""
    return Resources({Resource.INSTRUCTIONS: int(count)})


@dataclass(frozen=True)
class Estimate:
    """Cycles of one inference, computed from executed instructions and what is published about the core: a guess.

    Flash wait states, caches and buses are not in it. `model` says which timings were taken.
    """

    cycles: int
    clock_hz: int
    model: str

    @property
    def latency_s(self) -> float:
        return self.cycles / self.clock_hz


@dataclass(frozen=True)
class Measurement:
    """What a device computed and, only where all of it was right, how fast.

    `spent`: of one inference, the median over the inputs. An instruction count is not a time: a simulator fills in
    one, a board or host the other. `rounded`: where nodes run in float, output elements that differ from integer.onnx
    though all are what the kernels' references compute, bit for bit.
    """

    device: str
    kind: DeviceKind
    tool: str  # name and version
    inputs: int
    mismatches: int  # output elements that differ from integer.onnx
    first_mismatch: str | None = None
    spent: Resources = NOTHING
    per_call: tuple[CallCost, ...] = ()
    estimate: Estimate | None = None  # never measured, never mixed with what was
    cycles: FrameCycles | None = None  # of a streaming design
    rounded: int = 0

    def __post_init__(self) -> None:
        if self.mismatches and (self.spent or self.per_call or self.estimate or self.cycles):
            raise ValueError(f"{self.device}: {self.mismatches} wrong output elements must not come with a cost")


class Opened(Protocol):
    """A product as a function: {input port: array [N, *shape]} to the same of its outputs; `begins` as of Vectors."""

    def __call__(self, inputs: dict[str, Array], begins: Array | None = None) -> dict[str, Array]: ...


class Device(Protocol):
    """A place to run an artifact."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> DeviceKind: ...

    def missing(self) -> str | None:
        """Why it cannot run here, in one line with what would enable it; None where it can."""
        ...

    def tool(self) -> str:
        """What runs the model: name and version."""
        ...

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement: ...


def compared(device: Device, got: dict[str, Array], vectors: Vectors) -> Measurement:
    """What `device` computed for all vectors, {port name: array [N, *shape]}, beside what was expected; no cost yet."""
    found = compare(got, vectors.expected)
    return Measurement(device.name, device.kind, device.tool(), len(vectors), found.mismatches, found.first)
