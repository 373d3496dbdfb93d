"""The instruction counter that unicorn calls: compiled once from count_hook.c, then kept in the user's cache.

A hook in Python costs microseconds a block, which is minutes an inference; in C it costs nanoseconds.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.binary.toolchain import Toolchain
from bevel.backends.cortex_m.timing.estimate import Block
from bevel.backends.devices import shared_library

SOURCE = "count_hook.c"


@dataclass(frozen=True)
class InstructionSet:
    """What the counter has to know of code. `link_register`: unicorn's name of the one with a call's return address.

    An instruction has 32 bits where its first halfword, masked with `length_mask`, is `wide_from` or more; else 16.
    """

    constants: str  # unicorn's module of register names
    link_register: str
    length_mask: int
    wide_from: int


# Armv7-M Architecture Reference Manual, A5.1; The RISC-V Instruction Set Manual, volume I, 1.5.
THUMB = InstructionSet("unicorn.arm_const", "UC_ARM_REG_LR", 0xFFFF, 0xE800)
RISCV = InstructionSet("unicorn.riscv_const", "UC_RISCV_REG_RA", 0b11, 0b11)


class CounterFields(ctypes.Structure):
    """The first fields of `struct counter` in count_hook.c, in its order."""

    _fields_ = (
        ("read_memory", ctypes.c_void_p),
        ("read_register", ctypes.c_void_p),
        ("kernels", ctypes.c_void_p),
        ("calls", ctypes.c_void_p),
        ("marks", ctypes.c_void_p),
        ("instructions", ctypes.c_uint64),
        ("link_register", ctypes.c_int32),
        ("length_mask", ctypes.c_uint32),
        ("wide_from", ctypes.c_uint32),
        ("run_entry", ctypes.c_uint32),
        ("kernel_count", ctypes.c_uint32),
        ("call_count", ctypes.c_uint32),
        ("run_capacity", ctypes.c_uint32),
        ("runs", ctypes.c_uint32),
        ("failures", ctypes.c_uint32),
    )


# `struct block` in count_hook.c.
BLOCK = np.dtype(
    [
        ("address", np.uint32),
        ("size", np.uint32),
        ("instructions", np.uint32),
        ("mark", np.uint32),
        ("executed", np.uint64),
        ("fell_through", np.uint64),
    ]
)


@dataclass
class Counter:
    """One emulation's counts. The arrays are referenced here because the C side keeps only their addresses."""

    hook: Any  # the loaded library
    storage: Any
    marks: NDArray[np.uint64]
    addresses: tuple[NDArray[np.uint32], ...]

    @property
    def fields(self) -> CounterFields:
        return CounterFields.from_buffer(self.storage)

    def runs(self) -> NDArray[np.uint64]:
        """Counts [inference, calls + 2]: at the entry of run, at the entry of each call, and at its return.

        Raises RuntimeError when an inference did not make exactly the calls it should.
        """
        fields = self.fields
        if fields.failures:
            raise RuntimeError(
                f"{fields.failures} of {fields.runs} inferences did not call the {fields.call_count} kernels in order"
            )
        return self.marks[: fields.runs]

    @property
    def instructions(self) -> int:
        """Everything executed so far."""
        return int(self.fields.instructions)

    def blocks(self) -> tuple[Block, ...]:
        """The blocks that inferences executed, by address."""
        size = self.hook.counter_places() * BLOCK.itemsize
        table = np.frombuffer(ctypes.string_at(self.hook.counter_blocks(self.storage), size), BLOCK)
        used = np.sort(table[table["executed"] > 0], order=("address", "size"))
        return tuple(
            Block(int(one["address"]), int(one["size"]), int(one["executed"]), int(one["fell_through"])) for one in used
        )


def attach(uc: Any, run: int, calls: list[int], runs: int, code: InstructionSet = THUMB) -> Counter:
    """Count what `uc`, a unicorn.Uc, executes from now on, as long as the counter that is returned is kept.

    An inference starts at address `run` and calls kernels at addresses `calls`, in order; there is room for `runs`.
    """
    counter = create(calls, runs)
    engine: Any = import_module("unicorn")
    library: Any = import_module("unicorn.unicorn_py3.unicorn").uclib
    fields = counter.fields
    fields.read_memory, fields.read_register = address_of(library.uc_mem_read), address_of(library.uc_reg_read)
    fields.link_register, fields.run_entry = getattr(import_module(code.constants), code.link_register), run
    fields.length_mask, fields.wide_from = code.length_mask, code.wide_from
    function, data = ctypes.cast(counter.hook.on_block, ctypes.c_void_p), ctypes.addressof(counter.storage)
    everywhere = ctypes.c_uint64(1), ctypes.c_uint64(0)  # a first address beyond the last means all
    handle = ctypes.c_size_t()
    # unicorn's Python interface takes Python callbacks only.
    status = library.uc_hook_add(
        uc._uch, ctypes.byref(handle), engine.UC_HOOK_BLOCK, function, ctypes.c_void_p(data), *everywhere
    )
    if status != engine.UC_ERR_OK:
        raise engine.UcError(status)
    return counter


def create(calls: list[int], runs: int) -> Counter:
    hook = load(shared_library.host_compiler())
    storage = ctypes.create_string_buffer(hook.counter_bytes())
    kernels, order = np.unique(np.array(calls, np.uint32)), np.array(calls, np.uint32)
    marks = np.zeros((runs, len(calls) + 2), np.uint64)
    counter = Counter(hook, storage, marks, (kernels, order))
    fields = counter.fields
    fields.kernels, fields.calls, fields.marks = kernels.ctypes.data, order.ctypes.data, marks.ctypes.data
    fields.kernel_count, fields.call_count, fields.run_capacity = len(kernels), len(order), runs
    hook.counter_start(storage)
    return counter


def address_of(function: Any) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


@cache
def load(compiler: Toolchain | None) -> Any:
    if compiler is None:
        raise RuntimeError("no C compiler for this machine; `pip install ziglang` gives one")
    library = ctypes.CDLL(str(shared_library.compiled(compiler, __package__, SOURCE)))
    library.counter_bytes.restype = ctypes.c_uint64
    library.counter_blocks.restype = ctypes.c_void_p
    library.counter_places.restype = ctypes.c_uint32
    return library
