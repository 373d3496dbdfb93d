"""The most that this machine multiplies: a loop of the products of an instruction set, in registers alone.

A sum's bytes are the next product's inputs, so that no product can be taken out of the loop.

What convolutions reach is told beside it, as a roofline (Williams et al. 2009) whose memory is never read.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bevel.backends.binary.toolchain import for_target
from bevel.backends.cpu.levels import Level, at_hand
from bevel.backends.cpu.x86.vectors import AVX2, PRODUCTS, ByteProducts, MultiplyAdd
from bevel.backends.encodings.quads import BYTES, QUAD
from bevel.backends.program.op import activation, output
from bevel.backends.target import Target
from bevel.backends.tir.functions import prim_func
from bevel.backends.tir.lazy import T, statements

STEPS = 4096
CHAINS = 12  # sums at once: as many products wait for those before them as are on their way, and 16 registers hold them
RUNS = 400  # of which the median counts
SYMBOL = "peak"


@dataclass(frozen=True)
class Peak:
    """level: the instruction set; run: some products; macs: how many."""

    level: str
    run: Callable[[], object]
    macs: int

    def rate(self) -> float:
        """Products a second, now."""
        taken = []
        for _ in range(RUNS):
            start = time.perf_counter()
            self.run()
            taken.append(time.perf_counter() - start)
        return self.macs / median(taken)


def peak_of(target: Target) -> Peak:
    """Of the best instruction set for vectors of bytes that `target` takes and this machine has."""
    level = next((one for one in at_hand(target) if one.name in PRODUCTS), None)
    isa = AVX2 if level is None else PRODUCTS[level.name]
    function = made(loop(isa, STEPS), target, level)
    held = (np.full(BYTES, 3, np.int8), np.arange(CHAINS * isa.words, dtype=np.int32))
    pointers = [ctypes.c_void_p(one.ctypes.data) for one in held]

    def run() -> object:
        return held and function(*pointers)

    run()
    products = isa.words * (MultiplyAdd.PAIRS if isinstance(isa, MultiplyAdd) else QUAD)
    return Peak(target.levels[-1] if level is None else level.name, run, STEPS * CHAINS * products)


def made(kernel: Any, target: Target, level: Level | None) -> Any:
    """The function of `loop`'s TIR."""
    from bevel.backends.tir.raw_abi import llvm_object

    llvm = dict(target.llvm or {})
    with TemporaryDirectory(prefix="bevel-") as name:
        folder = Path(name)
        (folder / "peak.o").write_bytes(llvm_object({SYMBOL: kernel}, level.llvm(llvm) if level else llvm))
        library = for_target(target).link(["peak.o"], "peak.so", folder, ("-shared",))
        return ctypes.CDLL(str(library))[SYMBOL]


def loop(isa: ByteProducts, steps: int) -> Any:
    """TIR of `steps` times `CHAINS` vectors of products; w: int8 [64]; sums: int32 [chains, words], in place."""
    operands = (activation("w", (BYTES,)), output("sums", (CHAINS * isa.words,), "int32"))
    kind = f"int16x{isa.words * 2}" if isinstance(isa, MultiplyAdd) else f"int8x{isa.words * QUAD}"

    def loops(buffers: tuple[Any, ...]) -> None:
        w, given = buffers
        sums = statements.alloc_buffer((CHAINS * isa.words,), "int32", scope="local")
        weights, places = isa.weights(w, 0)[0], [isa.total(chain) for chain in range(CHAINS)]
        for place in places:
            statements.buffer_store(sums, given[place], [place])
        with statements.serial(steps):
            for place in places:
                inputs = T.reinterpret(sums[place], dtype=kind)
                statements.buffer_store(sums, isa.added(sums[place], inputs, weights), [place])
        for place in places:
            statements.buffer_store(given, sums[place], [place])

    return prim_func(SYMBOL, operands, loops)
