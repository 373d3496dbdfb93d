"""Weights and parameters as C arrays: each different array once, aligned like the arena."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import isnan

import numpy as np

from bevel.backends.binary.c.names import comment
from bevel.backends.binary.c.widths import rounding_form
from bevel.backends.program.memory import ALIGNMENT
from bevel.backends.program.op import Array, Role
from bevel.backends.program.program import Call, Program
from bevel.backends.program.switching import switchings
from bevel.calib.data.content import content

C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float32": "float",
    "float64": "double",
}
LINE = 100  # characters of numbers


@dataclass(frozen=True)
class Constant:
    """An array in flash. `use` says whose it is: 'node: operand'."""

    symbol: str
    use: str
    array: Array


@dataclass(frozen=True)
class Constants:
    """Every different array, and the symbols that calls use: of their constant operands, and of constant buffers.

    `exceptions`: for each call that has other constants at other widths, the symbols of how each operand is rounded and
    of the values that are not; None for an operand that is not rounded.
    """

    arrays: tuple[Constant, ...]
    operands: tuple[tuple[str, ...], ...]
    buffers: dict[str, str]
    exceptions: dict[int, tuple[tuple[str, str] | None, ...]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(constant.array.nbytes for constant in self.arrays)

    def largest(self, count: int) -> list[Constant]:
        return sorted(self.arrays, key=lambda constant: (-constant.array.nbytes, constant.symbol))[:count]


def c_type(dtype: str) -> str:
    """The C element type of a numpy dtype. Raises ValueError for those that generated code does not hold."""
    if dtype not in C_TYPES:
        raise ValueError(f"no C type for elements of {dtype}")
    return C_TYPES[dtype]


def collect(program: Program) -> Constants:
    """The constants of `program`; arrays of equal bytes and element type share one symbol."""
    found: dict[bytes, Constant] = {}

    def symbol(name: str, use: str, array: Array) -> str:
        return found.setdefault(content(array.reshape(-1)), Constant(f"{program.name}_{name}", use, array)).symbol

    def operand_symbols(index: int, call: Call) -> Iterator[tuple[str, tuple[str, str] | None]]:
        changes = switchings(call) if call.narrower else (None,) * len(call.constants)
        for operand, array, change in zip(call.kernel.roles(Role.CONSTANT), call.constants, changes, strict=True):
            name, use = f"call_{index}_{operand.name.lower()}", f"{call.node}: {operand.name}"
            if change is None:
                yield symbol(name, use, array), None
            elif change.lane is None:
                yield symbol(name, f"{use} at each width", np.stack([array.reshape(-1), *change.values])), None
            else:
                form = symbol(f"{name}_form", f"{use}: how it is rounded", rounding_form(array, change))
                values = symbol(f"{name}_values", f"{use}: what is not rounded, at each other width", change.values)
                yield symbol(name, use, array), (form, values)

    pairs = [list(operand_symbols(index, call)) for index, call in enumerate(program.calls)]
    operands = tuple(tuple(name for name, _ in found) for found in pairs)
    changing = [index for index, call in enumerate(program.calls) if call.narrower]
    exceptions = {index: tuple(one for _, one in pairs[index]) for index in changing}
    buffers = {
        name: symbol(f"buffer_{number}", name, array) for number, (name, array) in enumerate(program.constants.items())
    }
    return Constants(tuple(found.values()), operands, buffers, exceptions)


def declaration(constant: Constant) -> str:
    return f"const {c_type(str(constant.array.dtype))} {constant.symbol}[{max(constant.array.size, 1)}]"


def weights_header(program: Program, constants: Constants) -> str:
    guard = f"{program.name.upper()}_WEIGHTS_H"
    lines = [f"extern {declaration(constant)};" for constant in constants.arrays]
    return "\n".join([f"#ifndef {guard}", f"#define {guard}", "#include <stdint.h>", "", *lines, "", "#endif", ""])


def weights_source(program: Program, constants: Constants) -> str:
    """The C file that defines the arrays: {constants.bytes} bytes of flash."""
    parts = [f'/* Weights and parameters: {constants.bytes} bytes. */\n#include "{program.name}_weights.h"\n']
    parts += [definition(constant) for constant in constants.arrays]
    return "\n".join(parts)


def definition(constant: Constant) -> str:
    shape = "x".join(map(str, constant.array.shape)) or "scalar"
    body = "\n".join(lines(literals(constant.array)))
    return (
        f"/* {comment(constant.use)} [{shape}] */\n"
        f"__attribute__((aligned({ALIGNMENT}))) {declaration(constant)} = {{\n{body}\n}};\n"
    )


def literals(array: Array) -> Iterable[str]:
    """Each element as a C literal that means exactly its value."""
    values = array.ravel()
    if values.size == 0:
        return ["0"]
    if np.issubdtype(values.dtype, np.floating):
        suffix = "f" if values.dtype == np.float32 else ""
        return (float_literal(float(value), suffix) for value in values.tolist())
    if values.dtype.itemsize == 8:
        return (wide_literal(int(value)) for value in values.tolist())
    return map(str, values.astype(np.int64).tolist())


def float_literal(value: float, suffix: str) -> str:
    if isnan(value):
        return f'__builtin_nan{suffix}("")'
    if value in (float("inf"), float("-inf")):
        return f"{'-' if value < 0 else ''}__builtin_inf{suffix}()"
    return value.hex() + suffix


def wide_literal(value: int) -> str:
    if value > np.iinfo(np.int64).max:
        return f"{value}ULL"
    return "-9223372036854775807LL - 1" if value == np.iinfo(np.int64).min else f"{value}LL"


def lines(words: Iterable[str]) -> Iterator[str]:
    """The words, comma-separated, in lines of about LINE characters."""
    line: list[str] = []
    length = 0
    for word in words:
        line.append(word)
        length += len(word) + 1
        if length >= LINE:
            yield ",".join(line) + ","
            line, length = [], 0
    if line:
        yield ",".join(line)
