"""Kernels as C on this machine: compiled, and called with operands that nothing else may touch."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bevel.backends.binary.c.headers import header_texts
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.tir.builder import build
from bevel.backends.tir.raw_abi import c_source

COMPILER = ["gcc"] if shutil.which("gcc") else [sys.executable, "-m", "ziglang", "cc"]
GUARD = 64  # bytes around every operand; not a multiple of any vector, so that nothing can rely on alignment
FILL = 0x5A


class Guarded:
    """An operand's bytes with guards on both sides; a one-byte type starts at an odd address."""

    def __init__(self, shape: tuple[int, ...], dtype: str, content: Array | None = None) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        offset = GUARD + (1 if np.dtype(dtype).itemsize == 1 else 0)
        self.memory = np.full(size + 2 * GUARD + 1, FILL, np.uint8)
        self.inside = slice(offset, offset + size)
        self.array = self.memory[self.inside].view(dtype).reshape(shape)
        if content is not None:
            self.array[...] = content

    @property
    def pointer(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(self.array.ctypes.data)

    def guards_hold(self) -> bool:
        outside = np.delete(self.memory, np.arange(self.inside.start, self.inside.stop))
        return bool((outside == FILL).all())


def place(kernel: Op, given: tuple[Array, ...]) -> list[Guarded]:
    """All operands; `given`: the contents of those that are read."""
    contents, read = iter(given), (Role.INPUT, Role.CONSTANT, Role.STATE)
    return [
        Guarded(operand.shape, operand.dtype, next(contents) if operand.role in read else None)
        for operand in kernel.operands()
    ]


def compiled(kernels: Mapping[str, Op], folder: Path) -> ctypes.CDLL:
    """A library of the kernels, one function each."""
    headers = header_texts(kernels.values())
    for header, text in headers.items():
        (folder / header).write_text(text)
    aliasing = frozenset(name for name, kernel in kernels.items() if kernel.in_place)
    functions = {name: build(kernel, name) for name, kernel in kernels.items()}
    (folder / "all.c").write_text(c_source(functions, aliasing, headers))
    command = [*COMPILER, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "all.c", "-o", "all.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "all.so"))


def function_of(kernel: Op) -> Any:
    with TemporaryDirectory() as folder:
        return compiled({"k": kernel}, Path(folder)).k


def computed(function: Any, kernel: Op, given: tuple[Array, ...], over_input: bool = False) -> Array:
    """The output of a compiled kernel, which keeps to its operands; put over its first input where asked."""
    placed = place(kernel, given)
    output = [operand.role for operand in kernel.operands()].index(Role.OUTPUT)
    if over_input:
        placed[output] = placed[0]
    function(*(operand.pointer for operand in placed))
    assert all(operand.guards_hold() for operand in placed)
    return placed[output].array
