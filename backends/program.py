"""An integer graph as the backends see it: buffers, and kernel calls in execution order. No ONNX here."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from bevel.backends.kernel import Array, Kernel, Role


@dataclass(frozen=True)
class Buffer:
    """Storage for one activation. Reshapes share a buffer, so its shape is only how it was first written."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return prod(self.shape) * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Call:
    """One kernel call: `node` names the integer graph's node it computes."""

    node: str
    kernel: Kernel
    inputs: tuple[str, ...]  # buffer names, in operand order
    constants: tuple[Array, ...]
    output: str

    def __post_init__(self) -> None:
        declared = self.kernel.roles(Role.CONSTANT)
        found = [(array.shape, str(array.dtype)) for array in self.constants]
        if found != [(operand.shape, operand.dtype) for operand in declared]:
            raise ValueError(f"{self.node}: constants {found} are not those of {self.kernel}")
        if len(self.inputs) != len(self.kernel.roles(Role.INPUT)):
            raise ValueError(f"{self.node}: {len(self.inputs)} inputs given to {self.kernel}")


@dataclass(frozen=True)
class Port:
    """A graph input or output: the ONNX name, the buffer that holds it, and what its integers mean.

    scale and zero_point are None where the element type is float.
    """

    name: str
    buffer: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Program:
    """Every buffer lives in the arena, except those named in `constants`, which are read from flash."""

    name: str  # a C identifier
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    buffers: dict[str, Buffer]
    calls: tuple[Call, ...]
    constants: dict[str, Array] = field(default_factory=dict)  # buffer name: its contents

    def run(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """The reference interpretation, by each kernel's `reference`: {input name: array} to {output name: array}."""
        values = self.constants | {port.buffer: np.ascontiguousarray(arrays[port.name]) for port in self.inputs}
        for call in self.calls:
            operands = call.kernel.roles(Role.INPUT)
            given = [
                values[name].reshape(operand.shape) for name, operand in zip(call.inputs, operands, strict=True)
            ]
            values[call.output] = call.kernel.reference(*given, *call.constants)
        return {port.name: values[port.buffer].reshape(port.shape) for port in self.outputs}
