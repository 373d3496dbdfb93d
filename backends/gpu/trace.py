"""What every call of a program writes, for test vectors, by its reference: digests that a device's memory is held to.

Outputs of a network alone are no test of its calls: a softmax that saturates hides what went wrong before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bevel.backends.devices.base import Vectors
from bevel.backends.program.op import Array
from bevel.backends.program.program import Call, Program, Span

FILE = "calls.json"
MOST = 4  # vectors: references take their time
DIGITS = 16  # of a digest


@dataclass(frozen=True)
class CallDigests:
    """`nodes`: of each call; `digests`: for each vector those of its calls, None where what comes in is not the same on
    every machine. `sizes`: the bytes that each call writes. `given`: a digest of the vectors' inputs, which these are
    of."""

    nodes: tuple[str, ...]
    sizes: tuple[int, ...]
    digests: tuple[tuple[str | None, ...], ...]
    given: str

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(vars(self), indent=1) + "\n", encoding="utf-8")


def load(folder: Path) -> CallDigests | None:
    """What a build left, if it had vectors."""
    if not (folder / FILE).exists():
        return None
    data: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return CallDigests(tuple(data["nodes"]), tuple(data["sizes"]), tuple(map(tuple, data["digests"])), data["given"])


def trace(program: Program, vectors: Vectors, most: int = MOST) -> CallDigests:
    """Of the first vectors; of a model with state they are steps in a row."""
    states: dict[str, Array] = {}
    unsure: set[str] = set()  # buffers
    rows = []
    for index in range(min(most, len(vectors))):
        if vectors.starts[index]:
            states.clear()
            unsure.clear()
        found: list[str | None] = []

        def after(call: Call, memory: Mapping[str, Array], found: list[str | None] = found) -> None:
            sure = call.kernel.exact and unsure.isdisjoint((*call.inputs, *call.states))
            (unsure.difference_update if sure else unsure.update)(span.buffer for span in written(call))
            if any(call is one for one in program.calls):
                found.append(digest(memory[name][first:end] for name, first, end in written(call)) if sure else None)

        program.run({name: array[index] for name, array in vectors.inputs.items()}, states, after)
        rows.append(tuple(found))
    nodes = tuple(call.node for call in program.calls)
    sizes = tuple(sum(span.end - span.first for span in written(call)) for call in program.calls)
    return CallDigests(nodes, sizes, tuple(rows), inputs_digest(vectors))


def written(call: Call) -> tuple[Span, ...]:
    """All that a call writes, in the order in which its digest is of it."""
    return (*call.writes(), *call.keeps())


def digest(arrays: Iterable[Array]) -> str:
    """Of arrays of bytes, as they follow each other."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(array.tobytes())
    return total.hexdigest()[:DIGITS]


def inputs_digest(vectors: Vectors) -> str:
    return digest([*(vectors.inputs[name] for name in sorted(vectors.inputs)), vectors.starts])


def wrong(known: CallDigests, got: Sequence[Sequence[str]]) -> list[str]:
    """What calls of which vectors wrote something else."""
    return [
        f"call {index}, {known.nodes[index]}, of vector {vector} wrote something else"
        for vector, (expected, found) in enumerate(zip(known.digests, got, strict=True))
        for index, (one, other) in enumerate(zip(expected, found, strict=True))
        if one is not None and one != other
    ]
