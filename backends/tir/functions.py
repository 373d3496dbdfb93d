"""PrimFuncs whose loops are written statement by statement, where `te` has no words for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bevel.backends.program.op import Operand
from bevel.backends.tir.lazy import ir_builder, statements, tirx

Given = tuple[str, Sequence[int], str]  # a buffer's name, shape and type


def function(name: str, given: Iterable[Given], body: Callable[[tuple[Any, ...]], None]) -> Any:
    """The PrimFunc of the TIR that `body` makes of a buffer for each of `given`."""
    with ir_builder.IRBuilder() as builder, statements.prim_func(s_tir=True):
        statements.func_name(name)
        statements.func_attr({"global_symbol": name, "tirx.noalias": True})
        body(tuple(statements.arg(one, statements.Buffer(tuple(shape), dtype)) for one, shape, dtype in given))
    return builder.get()


def prim_func(name: str, operands: Iterable[Operand], body: Callable[[tuple[Any, ...]], None]) -> Any:
    """`function` of one buffer, of one axis, for each operand."""
    return function(name, [(one.name, (one.size,), one.dtype) for one in operands], body)


def in_grid(extents: Sequence[int], body: Callable[[tuple[Any, ...]], None]) -> None:
    """TIR of `body` at every place of a grid, that of no axes included."""
    if not extents:
        body(())
        return
    with statements.grid(*extents) as place:  # which hands a single variable over bare
        body((place,) if isinstance(place, tirx.Var) else tuple(place))
