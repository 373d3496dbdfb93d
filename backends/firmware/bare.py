"""Machines without an operating system: what is linked is firmware that runs the model on its test vectors, and it runs
in simulators of cores and of boards, and on boards on a serial port.
"""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.backend import Begin, Linked, Product
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.sizes import file_sizes, overflow
from bevel.backends.binary.toolchain import ToolError
from bevel.backends.devices.base import SERIAL, Device
from bevel.backends.firmware import build_firmware
from bevel.backends.target import Target
from bevel.backends.tir.base import TirBackend

OVERFLOW = ("overflowed by", "will not fit in region")  # what GNU ld and LLD say of a region that is too small


@dataclass(frozen=True)
class Bare(TirBackend):
    def link(self, product: Product, begin: Begin) -> Linked:
        """firmware.elf, where there are vectors; else nothing beyond the model's library."""
        begin("firmware")
        if product.vectors is None:
            return Linked(product.sizes)
        program, plan, toolchain, folder = product.program, product.plan, product.toolchain, product.folder
        objects = [*product.objects, compiled(toolchain, f"{program.name}_profile.c", folder)]
        try:
            made = build_firmware(program, plan, product.target, toolchain, folder, objects, product.vectors)
        except ToolError as error:
            if any(words in str(error) for words in OVERFLOW):
                raise overflow(product.sizes, product.target, str(error)) from error
            raise
        return Linked(file_sizes(folder / made.elf, product.sizes, plan), firmware=made.elf)

    def device(self, name: str, target: Target) -> Device | None:
        """Modules are imported when a target asks for them."""
        if name.startswith(SERIAL):
            from bevel.backends.devices.serial import Serial

            return Serial(target, name.removeprefix(SERIAL))
        if name == "unicorn":
            from bevel.backends.devices.unicorn import Unicorn

            return Unicorn(target)
        if name == "qemu":
            from bevel.backends.devices.qemu import Qemu

            return Qemu(target)
        return None
