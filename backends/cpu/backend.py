"""CPUs with an operating system: objects of TVM's LLVM, kernels in C beside them, and a shared library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bevel.backends.backend import Begin, Kernels, Linked, Product, Source
from bevel.backends.binary.c import threads
from bevel.backends.binary.sizes import file_sizes
from bevel.backends.cpu import arm, riscv, x86
from bevel.backends.cpu.dispatch import at_levels, with_base
from bevel.backends.cpu.levels import at_hand
from bevel.backends.cpu.x86.avx2_rates import AVX2_RATES
from bevel.backends.devices.base import REMOTE, Device
from bevel.backends.program.op import Op
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.average_pool import AveragePool
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.normalize import Normalize
from bevel.backends.program.ops.reduce_mean import ReduceMean
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.ops.table import WideTable
from bevel.backends.program.program import Program
from bevel.backends.program.rates import Rates
from bevel.backends.program.recurrence import Recurrence
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir.base import TirBackend
from bevel.backends.tir.rates import Table
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv

# A model's shared library names the libraries it really needs, asks for no executable stack, and shows its API alone.
EXPORTS = "exports.map"
SHARED_FLAGS = ("-shared", "-Wl,-z,noexecstack", "-Wl,--as-needed", f"-Wl,--version-script={EXPORTS}", "-lm")


# Seconds, as `python -m bevel.tools.bench.rates --target host` measured them on an x86-64 with AVX-512. 64-bit Arm is
# taken to be alike: the emulator that runs it here knows its results, and nothing of its time.
RATES: Table = {
    Conv: Rates(mac=4.1e-11, output=2.9e-9, code=2000, unit=Resource.LATENCY),
    Gemm: Rates(mac=4.4e-11, output=3e-9, call=6e-8, code=1300, unit=Resource.LATENCY),
    CodedConv: Rates(mac=6.1e-11, output=2.2e-9, besides=2e-11, code=3300, unit=Resource.LATENCY),
    BitplaneConv: Rates(output=1.56e-9, besides=2.1e-10, code=2000, unit=Resource.LATENCY),
    MatMulNBits: Rates(mac=4.3e-9, call=3e-8, code=1000, unit=Resource.LATENCY),
    MatMul: Rates(mac=8e-11, output=2.5e-10, call=2e-8, code=4300, unit=Resource.LATENCY),
    Add: Rates(input=2e-10, call=3e-8, code=440, unit=Resource.LATENCY),
    AveragePool: Rates(input=1.2e-10, call=3e-8, code=3200, unit=Resource.LATENCY),
    MaxPool: Rates(input=3.5e-11, call=3e-8, code=2200, unit=Resource.LATENCY),
    ReduceMean: Rates(input=1.1e-10, call=3e-8, code=3200, unit=Resource.LATENCY),
    Softmax: Rates(input=1.7e-9, call=3e-8, code=2700, unit=Resource.LATENCY),
    WideSoftmax: Rates(input=2.4e-9, call=3e-8, code=1500, unit=Resource.LATENCY),
    WideTable: Rates(input=4e-9, call=3e-8, code=900, unit=Resource.LATENCY),
    Normalize: Rates(input=2.6e-9, call=3e-8, code=1500, unit=Resource.LATENCY),
    Recurrence: Rates(mac=1e-11, output=2e-8, besides=5.8e-9, code=6000, unit=Resource.LATENCY),
    Op: Rates(mac=6e-11, input=6e-10, call=3e-8, code=1000, unit=Resource.LATENCY),
}


@dataclass(frozen=True)
class Cpu(TirBackend):
    def emit(self, code: Kernels, target: Target, begin: Begin) -> Sequence[Source]:
        return [*super().emit(with_base(code, target), target, begin), *at_levels(code, target, begin)]

    def rates(self, target: Target) -> Table:
        """Of the machine at hand, as far as the target may use what it has."""
        return {**RATES, **AVX2_RATES} if "avx2" in target.abilities and not at_hand(target) else RATES

    def link(self, product: Product, begin: Begin) -> Linked:
        begin("library")
        (product.folder / EXPORTS).write_text(exports(product.program), encoding="utf-8")
        name = f"lib{product.program.name}.so"
        flags = (*SHARED_FLAGS, *(("-pthread",) if threads.has_teams(product.program) else ()))
        library = product.toolchain.link(product.objects, name, product.folder, flags)
        (product.folder / EXPORTS).unlink()
        return Linked(file_sizes(library, product.sizes, product.plan), library=library.name)

    def device(self, name: str, target: Target) -> Device | None:
        """Modules are imported when a target asks for them."""
        if name.startswith(REMOTE):
            from bevel.backends.devices.native import on_board
            from bevel.backends.devices.reached import reached

            return reached(name, target, on_board)
        if name == "host":
            from bevel.backends.devices.host import Host

            return Host(target)
        if name == "qemu-user":
            from bevel.backends.devices.qemu_user import QemuUser

            return QemuUser(target)
        return None


def exports(program: Program) -> str:
    """A linker's version script: what a shared library shows."""
    also = {f"{program.name}_set_bits": program.widths, f"{program.name}_reset": program.states}
    names = (program.entry, *threads.exported(program), *(name for name, wanted in also.items() if wanted))
    return f"{{ global: {' '.join(f'{name};' for name in names)} local: *; }};\n"


BACKEND = Cpu((x86, arm, riscv))
