"""The files of an accelerator: Verilog, memory images, and what must be known to feed it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from math import prod
from typing import Any

import numpy as np

from bevel.backends.fpga.network import Folded, Outside
from bevel.backends.fpga.timing import ModelCycles
from bevel.backends.fpga.top import SKID, first_edge, last_edge, padded, queue_names, top
from bevel.backends.program.op import Array
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize

LIBRARY = ("bevel_skid", "bevel_fifo", "bevel_fork", "bevel_widen", "bevel_narrow")
INTERFACE = "interface.json"


@dataclass(frozen=True)
class AxiStream:
    """One AXI stream. port: the model's, of elements `dtype` and `shape`; a beat has `lanes` of them of `bits` bits,
    signed, in `beat_bytes` bytes. scale, zero_point, codes: how floats become integers of type `codes`, or the other
    way; None where the port is integers."""

    name: str
    port: str
    shape: tuple[int, ...]
    dtype: str
    codes: str
    scale: float | None
    zero_point: int
    bits: int
    lanes: int
    beat_bytes: int

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def beats(self) -> int:
        return self.elements // self.lanes

    def packed(self, array: Array) -> bytes:
        """Frames [N, *shape] as beats."""
        codes = array.reshape(len(array), -1)
        if self.scale is not None:
            quantize = Quantize(codes.size, self.scale, self.zero_point, self.codes)
            codes = quantize.reference(codes.astype(np.float32).reshape(-1))
        return packed(codes.astype(np.int64).reshape(-1, self.lanes), self.bits, self.beat_bytes)

    def repacked(self, array: Array) -> bytes:
        """Results [N, *shape], floats or integers, as the beats that they came from."""
        codes = array.reshape(len(array), -1)
        if self.scale is not None:
            codes = np.rint(codes.astype(np.float64) / np.float64(np.float32(self.scale))) + self.zero_point
        return packed(codes.astype(np.int64).reshape(-1, self.lanes), self.bits, self.beat_bytes)

    def unpacked(self, data: bytes) -> Array:
        """Beats as frames [N, *shape]."""
        codes = unpacked(data, self.bits, self.lanes, self.beat_bytes).reshape(-1, self.elements).astype(self.codes)
        if self.scale is None:
            return codes.reshape(-1, *self.shape)
        dequantize = Dequantize(codes.size, self.scale, self.zero_point, self.codes)
        return dequantize.reference(codes.reshape(-1)).reshape(-1, *self.shape)


@dataclass(frozen=True)
class StreamInterface:
    """What must be known to feed an accelerator. interval, first_frame: cycles by the model of it. memory: where it
    reads its program from outside, the bytes of a beat of that; else 0."""

    model: str
    inputs: tuple[AxiStream, ...]
    outputs: tuple[AxiStream, ...]
    interval: int
    first_frame: int
    memory: int = 0

    def text(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, text: str) -> StreamInterface:
        fields: dict[str, Any] = json.loads(text)
        for side in ("inputs", "outputs"):
            fields[side] = tuple(AxiStream(**(one | {"shape": tuple(one["shape"])})) for one in fields[side])
        return cls(**fields)


@dataclass(frozen=True)
class Design:
    """rtl, memories: {file: text}; queues: {name: capacity} of the FIFOs that are memories."""

    rtl: Mapping[str, str]
    memories: Mapping[str, str]
    interface: StreamInterface
    queues: Mapping[str, int]

    @property
    def top(self) -> str:
        return f"{self.interface.model}_top"


def design(folded: Folded, capacities: Sequence[int], model: ModelCycles) -> Design:
    """capacities: of each edge's FIFO, in beats of its reader."""
    rtl = {f"{name}.v": library(name) for name in LIBRARY}
    memories: dict[str, str] = {}
    for stages in folded.stages:
        for stage in stages:
            for module in stage.modules():
                rtl[f"{module.name}.v"] = module.text
                memories |= module.memories
    rtl[f"{folded.network.name}_top.v"] = top(folded, capacities)
    names = zip(queue_names(folded), capacities, strict=True)
    queues = {name: capacity for name, capacity in names if capacity > SKID}
    return Design(rtl, memories, interface(folded, model), queues)


def library(name: str) -> str:
    return files("bevel.backends.fpga.verilog").joinpath(f"{name}.v").read_text(encoding="utf-8")


def interface(folded: Folded, model: ModelCycles) -> StreamInterface:
    network = folded.network
    given = [axis(one, folded.given(first_edge(folded, one.name))) for one in network.inputs]
    made = [axis(one, folded.taken(last_edge(folded, one.name))) for one in network.outputs]
    return StreamInterface(network.name, tuple(given), tuple(made), model.steady_state, model.first_frame)


def axis(outside: Outside, stream: Any) -> AxiStream:
    port = outside.port
    return AxiStream(
        outside.name,
        port.name,
        port.shape,
        port.dtype,
        outside.dtype,
        outside.scale,
        outside.zero_point,
        stream.bits,
        stream.lanes,
        padded(stream.width) // 8,
    )


def packed(codes: Array, bits: int, size: int) -> bytes:
    """Elements [beats, lanes] as beats of `size` bytes, the first element lowest."""
    places = (codes[..., np.newaxis] >> np.arange(bits)) & 1
    flat = places.reshape(len(codes), -1).astype(np.uint8)
    spare = np.zeros((len(codes), size * 8 - flat.shape[1]), np.uint8)
    return np.packbits(np.concatenate([flat, spare], 1), axis=1, bitorder="little").tobytes()


def unpacked(data: bytes, bits: int, lanes: int, size: int) -> Array:
    """The inverse: signed elements, [beats * lanes]."""
    beats = np.frombuffer(data, np.uint8).reshape(-1, size)
    places = np.unpackbits(beats, axis=1, bitorder="little")[:, : bits * lanes].reshape(-1, bits).astype(np.int64)
    weights = np.int64(1) << np.arange(bits, dtype=np.int64)
    weights[-1] = -weights[-1]
    result: Array = places @ weights
    return result
