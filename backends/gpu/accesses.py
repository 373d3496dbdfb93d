"""What some statements read and write, in order, with the loops around each access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from bevel.backends.gpu.indices import bound_of
from bevel.backends.tir.lazy import ir, tirx


@dataclass(frozen=True, eq=False)
class Access:
    """One load or store. `loops`: variables of the loops around it, within the statement, and the most that each runs;
    None where nothing says it. `doubts`: the conditions, and the loops of any number of turns, by which it may not
    happen: whatever has the same ones happens with it."""

    buffer: Any
    indices: tuple[Any, ...]
    stores: bool
    loops: Mapping[Any, int | None] = field(default_factory=dict, hash=False)
    doubts: frozenset[Any] = frozenset()

    @property
    def local(self) -> bool:
        return is_local(self.buffer)

    @property
    def extents(self) -> dict[Any, int]:
        """Of the loops whose turns are bounded."""
        return {variable: extent for variable, extent in self.loops.items() if extent is not None}


def is_local(buffer: Any) -> bool:
    return str(buffer.scope()) == "local"


@lru_cache(maxsize=100_000)
def accesses(statement: Any) -> tuple[Access, ...]:
    """Of a statement and all in it, in order. Raises TypeError for a kind that kernels do not have: our bug."""
    match statement:
        case tirx.SeqStmt():
            return tuple(access for one in statement.seq for access in accesses(one))
        case tirx.For():
            return (*loads(statement.extent), *in_loop(statement))
        case tirx.While():
            return (*loads(statement.condition), *perhaps(statement.body, statement))
        case tirx.IfThenElse():
            either = (one for one in (statement.then_case, statement.else_case) if one is not None)
            return (*loads(statement.condition), *(access for one in either for access in perhaps(one, one)))
        case tirx.BufferStore():
            indices = tuple(statement.indices)
            read = [access for one in (statement.value, *indices) for access in loads(one)]
            return (*read, Access(statement.buffer, indices, True))
        case tirx.Evaluate() | tirx.Bind():
            return loads(statement.value)
        case tirx.AllocBuffer() | tirx.DeclBuffer():
            return ()
    raise TypeError(f"no kernel has a {type(statement).__name__}")


def in_loop(loop: Any) -> Iterator[Access]:
    """Of a loop's body, as seen from outside it."""
    extent, constant = bound_of(loop.extent), isinstance(loop.extent, tirx.IntImm) and int(loop.extent) > 0
    for one in accesses(loop.body):
        doubts = one.doubts if constant else one.doubts | {loop.loop_var}
        yield replace(one, loops={loop.loop_var: extent, **one.loops}, doubts=doubts)


def perhaps(statement: Any, doubt: Any) -> Iterator[Access]:
    """Of a statement that may not run."""
    return (replace(one, doubts=one.doubts | {doubt}) for one in accesses(statement))


def loads(expression: Any) -> tuple[Access, ...]:
    """Of an expression."""
    import tvm_ffi

    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (ir.TensorLoad, lambda load: found.append(load)))
    return tuple(Access(load.source, tuple(load.indices), False) for load in found)


def stores_outside(statement: Any) -> bool:
    """Whether a statement writes what is not a thread's own."""
    return any(access.stores and not access.local for access in accesses(statement))
