"""GPUs: kernels in the device's own language, C around them, and a library that loads the device's driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bevel.backends.backend import Begin, Kernels, Linked, Product, Source
from bevel.backends.binary.c.bundle import Bundle
from bevel.backends.binary.c.constants import collect
from bevel.backends.binary.sizes import file_sizes
from bevel.backends.devices.base import REMOTE, Device
from bevel.backends.gpu import cuda_text, kernels, nvcc, opencl_text, product, tensor_kernels, trace
from bevel.backends.gpu.chip import Chip, chip_of
from bevel.backends.gpu.embedded import image, strings
from bevel.backends.gpu.groups import group_of
from bevel.backends.gpu.launched import DeviceCode, device_code
from bevel.backends.gpu.occupancy import occupancy
from bevel.backends.gpu.statics import Taken
from bevel.backends.gpu.tables import laid_out
from bevel.backends.program import memory
from bevel.backends.program.memory import Plan
from bevel.backends.program.op import Op
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.placement import aligned
from bevel.backends.program.program import Program
from bevel.backends.program.rates import Rates
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.target import Target
from bevel.backends.tir.base import QUICK_ROUNDS, TirBackend
from bevel.backends.tir.compiled import unheard
from bevel.backends.tir.rates import Table
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv
from bevel.calib.errors import UserError

EXPORTS = "exports.map"
SHARED_FLAGS = ("-shared", "-Wl,-z,noexecstack", "-Wl,--as-needed", f"-Wl,--version-script={EXPORTS}", "-lm", "-ldl")
API = ("init", "record", "wait", "destroy", "device_name", "queue")
SOME = ("enqueue*", "reset*", "bind_input_*", "set_input_*", "get_output_*")  # by patterns: some may be none
OPENCL_HEADERS = {"opencl.h": "opencl.h", "kept.h": "opencl_kept.h"}

# Nothing was measured on a GPU here: estimates, in products, that only order kernels of one operator.
RATES: Table = {
    BitplaneConv: Rates(output=10, besides=1.5, code=1500, unit=Resource.MACS),
    CodedConv: Rates(mac=1.0, input=1.0, output=1.0, besides=1.0, code=1000, unit=Resource.MACS),
    Op: Rates(mac=1.0, input=1.0, output=1.0, code=1000, unit=Resource.MACS),
}


@dataclass(frozen=True)
class Gpu(TirBackend):
    def rates(self, target: Target) -> Table:
        return RATES

    def arranged(self, program: Program) -> Program:
        """As it is. Raises UserError where weights change their width."""
        if program.widths:
            raise UserError(f"{program.name}: no GPU changes the width of weights; leave out --switchable")
        return program

    def plan(self, program: Program, in_place: bool = True, quick: bool = False) -> Plan:
        """No call's output lies on its input: threads read it in any order."""
        return memory.plan(program, False, QUICK_ROUNDS) if quick else memory.plan(program, False)

    def bundle(self, program: Program, plan: Plan, target: Target, flags: Mapping[Op, tuple[str, ...]]) -> Bundle:
        chip, split = chip_of(target), product.sides(program, plan)
        groups = {symbol: group_of(flags.get(kernel, ()), chip) for symbol, kernel in split.device.items()}
        code = device_code(split.device, chip.tvm, groups, split.aliasing, unheard)
        return product.product(program, plan, split, code, interface(program.name, chip, code), chip)

    def emit(self, code: Kernels, target: Target, begin: Begin) -> Sequence[Source]:
        return super().emit(code, target, begin) if code.kernels else []

    def link(self, product: Product, begin: Begin) -> Linked:
        """lib<model>.so, and what each call must write for the test vectors."""
        begin("library")
        program, folder = product.program, product.folder
        (folder / EXPORTS).write_text(exports(program), encoding="utf-8")
        library = product.toolchain.link(product.objects, f"lib{program.name}.so", folder, SHARED_FLAGS)
        (folder / EXPORTS).unlink()
        if product.vectors is not None:
            trace.trace(program, product.vectors).save(folder)
        _, weights = laid_out(program, collect(program))
        on_gpu = Resources({Resource.DEVICE: aligned(product.plan.arena_bytes) + weights})
        return Linked(file_sizes(library, product.sizes, product.plan) | on_gpu, library=library.name)

    def device(self, name: str, target: Target) -> Device | None:
        """Modules are imported when a target asks for them."""
        if name.startswith(REMOTE):
            from bevel.backends.devices.gpu_product import on_board
            from bevel.backends.devices.reached import reached

            return reached(name, target, on_board)
        if name == "opencl":
            from bevel.backends.devices.opencl import OpenCl

            return OpenCl(target)
        if name == "cuda":
            from bevel.backends.devices.cuda import Cuda

            return Cuda(target)
        return None


def interface(model: str, chip: Chip, code: DeviceCode) -> product.Interface:
    """In the device's language."""
    if chip.language == "cuda":
        text = cuda_text.with_prelude(code.source)
        built = nvcc.machine_code(text, chip.arch)
        sizes = {one.function: one.threads for several in code.launches.values() for one in several}
        known = {name: taken(chip, sizes[name], one) for name, one in built.kernels.items()}
        words, files = ("a CUstream of yours", "a CUdeviceptr of yours"), {"_kernels.cu": text}
        return product.Interface("cuda.c", *words, image(model, built.image), files, known)
    parts = opencl_text.functions(opencl_text.portable(code.source)) if code.source else []
    queue = "a cl_command_queue of yours, which keeps its commands in order"
    return product.Interface("opencl.c", queue, "a cl_mem of yours", strings(model, parts), headers=OPENCL_HEADERS)


def taken(chip: Chip, threads: int, one: nvcc.Occupied) -> Taken:
    return Taken(one.registers, one.spilled, one.dots, one.matrices, occupancy(chip, threads, one.registers))


def exports(program: Program) -> str:
    """A linker's version script: what a shared library shows."""
    names = (program.entry, *(f"{program.name}_{one}" for one in (*API, *SOME)))
    return f"{{ global: {' '.join(f'{name};' for name in names)} local: *; }};\n"


BACKEND = Gpu((kernels, tensor_kernels))
