"""CPUs with an operating system: objects of TVM's LLVM, kernels in C beside them, and a shared library."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.backend import Begin, Linked, Product
from bevel.backends.binary.sizes import file_sizes
from bevel.backends.devices.base import Device
from bevel.backends.program.program import Program
from bevel.backends.target import Target
from bevel.backends.tir.base import TirBackend

# A model's shared library names the libraries it really needs, asks for no executable stack, and shows its API alone.
EXPORTS = "exports.map"
SHARED_FLAGS = ("-shared", "-Wl,-z,noexecstack", "-Wl,--as-needed", f"-Wl,--version-script={EXPORTS}", "-lm")


@dataclass(frozen=True)
class Cpu(TirBackend):
    def link(self, product: Product, begin: Begin) -> Linked:
        begin("library")
        (product.folder / EXPORTS).write_text(exports(product.program), encoding="utf-8")
        name = f"lib{product.program.name}.so"
        library = product.toolchain.link(product.objects, name, product.folder, SHARED_FLAGS)
        (product.folder / EXPORTS).unlink()
        return Linked(file_sizes(library, product.sizes, product.plan), library=library.name)

    def device(self, name: str, target: Target) -> Device | None:
        """Modules are imported when a target asks for them."""
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
    names = (program.entry, *(name for name, wanted in also.items() if wanted))
    return f"{{ global: {' '.join(f'{name};' for name in names)} local: *; }};\n"


BACKEND = Cpu()
