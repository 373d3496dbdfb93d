"""The memory plan as text: one row a buffer, one column a kernel call, and where in the arena each buffer lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bevel.backends.binary.artifact import Artifact

MAX_COLUMNS = 72
LIVE, DEAD = "█", "·"


@dataclass(frozen=True)
class MapPiece:
    """A buffer or a call's scratch: bytes [offset, offset + size) of the arena during calls first..last."""

    name: str
    offset: int
    bytes: int
    first: int  # -1: filled by the caller before the first call
    last: int


@dataclass(frozen=True)
class ArenaMap:
    bytes: int
    lower_bound: int  # the most that is live at once: no plan can be smaller
    calls: tuple[str, ...]
    pieces: tuple[MapPiece, ...]


def arena_map(artifact: Artifact) -> ArenaMap:
    plan = artifact.plan
    buffers = [
        MapPiece(name, offset, plan.sizes[name], plan.lifetimes[name].first, plan.lifetimes[name].last)
        for name, offset in plan.offsets.items()
    ]
    scratch = [
        MapPiece(f"{call.node} scratch", offset, size, index, index)
        for index, call in enumerate(artifact.calls)
        for offset, size in zip(plan.scratch[index], plan.scratch_sizes[index], strict=True)
    ]
    calls = tuple(call.node for call in artifact.calls)
    return ArenaMap(plan.arena_bytes, plan.lower_bound, calls, (*buffers, *scratch))


def to_json(found: ArenaMap) -> dict[str, Any]:
    return asdict(found)


def from_json(fields: dict[str, Any]) -> ArenaMap:
    return ArenaMap(
        fields["bytes"],
        fields["lower_bound"],
        tuple(fields["calls"]),
        tuple(MapPiece(**one) for one in fields["pieces"]),
    )


def draw(found: ArenaMap) -> list[str]:
    """The lines of the picture. With more calls than fit side by side, a column stands for several."""
    together = -(-max(len(found.calls), 1) // MAX_COLUMNS)
    columns = range(0, max(len(found.calls), 1), together)
    width = max((len(piece.name) for piece in found.pieces), default=0)
    excess = found.bytes - found.lower_bound
    head = f"{found.bytes:,} bytes; the most live at once is {found.lower_bound:,}" + (
        f", {excess:,} less" if excess else ": no plan is smaller"
    )
    scale = f"{len(found.calls)} calls" + (f", {together} to a column" if together > 1 else "")
    rows = [
        f"{piece.offset:>9,} {piece.bytes:>9,}  {piece.name:<{width}}  {_bar(piece, columns, together)}"
        for piece in sorted(found.pieces, key=lambda piece: (piece.first, piece.offset, piece.name))
    ]
    return [head, f"{'offset':>9} {'bytes':>9}  {'buffer':<{width}}  {scale}", *rows]


def _bar(piece: MapPiece, columns: Sequence[int], together: int) -> str:
    return "".join(LIVE if piece.first < at + together and piece.last >= at else DEAD for at in columns)
