"""What runs in integers, as a list for people: made of what operators and passes say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bevel.passes.canonicalize import finish, rewrite
from bevel.passes.graph.regions import ONE_INPUT, WITH_CONSTANTS
from bevel.passes.operators import OPERATORS
from bevel.passes.operators.base import Operator

FUNCTION = "functions of one tensor: tables, and straight lines between codes of int16"
WITH_SCALARS = "with scalar constants: like functions of one tensor"


@dataclass(frozen=True)
class Listed:
    """ONNX operators that have the same formats and limits. formats: of the activations that they read and make."""

    ops: tuple[str, ...]
    formats: str
    limits: str


def listed_operators() -> list[Listed]:
    """In the order in which operators are asked; what passes rewrite comes last."""
    rows: dict[tuple[str, str], list[str]] = {}
    for op, formats, limits in single_operators():
        rows.setdefault((formats, limits), []).append(op)
    return [Listed(tuple(sorted(ops)), *key) for key, ops in rows.items()]


def single_operators() -> Iterator[tuple[str, str, str]]:
    spelled = {op: result for one in (*rewrite(), *finish()) for op, result in one.spells.items()}
    takers = {op: operator for operator in OPERATORS for op in sorted(operator.float_ops)}  # the last that takes it
    for op in (one for one in takers if one not in spelled):
        yield op, formats_of(takers[op]), takers[op].limits
    for op in sorted(ONE_INPUT - spelled.keys()):
        yield op, "int8 to int16", FUNCTION
    for op in sorted(WITH_CONSTANTS - takers.keys() - spelled.keys()):
        yield op, "int8 to int16", WITH_SCALARS
    for op, result in spelled.items():
        yield op, "all", f"as {result}" if result else "removed"


def formats_of(operator: Operator) -> str:
    if operator.wide:
        return "all"
    return "int8 to int16" if operator.wide_codes else "int8"
