"""Float islands: parts of a network that have no integer form, computed in float32 by a CPU.

What makes one of a float sub-model is the room of a compiler that knows floats, `bevel.backends.tir.islands`; passes
are given it as an `Importer`. Price: float results depend on the order of summation, on fused multiply-add and on the
C library's exp and erf. They are close to onnxruntime's, not equal: an island is outside the promise that integers are
the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx

from bevel.backends.program.op import Array, Role
from bevel.backends.program.program import Buffer, Call, Program
from bevel.calib.errors import UserError


@dataclass(frozen=True)
class Island:
    """What a float sub-model adds to a Program: the buffers it writes, its calls in order, its constant buffers.

    Its inputs and outputs are buffers named as in the ONNX model; all other names start with the island's prefix.
    """

    buffers: tuple[Buffer, ...]
    calls: tuple[Call, ...]
    constants: dict[str, Array]


class NotImportable(UserError):
    """What an importer, or a program without its runtime, cannot hold. `reason`: one short line."""

    def __init__(self, prefix: str, reason: str) -> None:
        super().__init__(f"{prefix}: {reason}")
        self.reason = reason


class Importer(Protocol):
    """What makes islands."""

    def is_importable(self, op: str) -> bool:
        """Whether the operator is known; that this use of it can be taken is another question."""
        ...

    def import_island(self, model: onnx.ModelProto, prefix: str) -> Island:
        """`model`, all of static shapes, as an island; `prefix` starts the names of nodes and buffers.

        Raises NotImportable for what it does not take.
        """
        ...


def run_island(island: Island, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
    """{output: array} of an island on this machine, its inputs given by name."""
    memory: dict[str, Array] = {**island.constants, **arrays}
    for call in island.calls:
        operands = call.kernel.roles(Role.INPUT)
        inputs = [memory[name].reshape(one.shape) for name, one in zip(call.inputs, operands, strict=True)]
        memory |= zip(call.outputs, call.kernel.results(*inputs, *call.constants), strict=True)
    return {name: memory[name] for name in outputs}


def has_islands(program: Program) -> bool:
    """Whether some of what `program` computes is float, which onnxruntime, or every machine, rounds its own way."""
    return not all(call.kernel.stock for call in program.calls)
