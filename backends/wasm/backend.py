"""WebAssembly: objects of TVM's LLVM, linked by zig into a module, with an ES module around it."""

from __future__ import annotations

from dataclasses import dataclass

from bevel.backends.backend import Begin, Linked, Product
from bevel.backends.binary.artifact import slots
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.sizes import file_sizes
from bevel.backends.binary.wasm_link import link_module
from bevel.backends.devices.base import Device
from bevel.backends.program.op import Op
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul import MatMul
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.base import TirBackend
from bevel.backends.tir.rates import Table
from bevel.backends.tir.rules.bitplane_conv import BitplaneConv
from bevel.backends.wasm import module, simd

# Instructions: of Conv, Gemm and Add as `python -m bevel.tools.bench.rates --target wasm32` measured them; the others
# are estimates.
RATES: Table = {
    Conv: Rates(mac=2.3, output=165, byte=1.4, code=1500),
    Gemm: Rates(mac=3.6, output=13, code=1200),
    CodedConv: Rates(mac=4.0, output=35, besides=2.3, code=1500),
    BitplaneConv: Rates(output=30, besides=1.5, code=1500),
    MatMul: Rates(mac=3.0, output=30, code=1500),
    Add: Rates(input=4.3, code=300),
    Op: Rates(mac=3.0, input=10.0, code=800),
}


@dataclass(frozen=True)
class Wasm(TirBackend):
    def rates(self, target: Target) -> Table:
        return RATES

    def link(self, product: Product, begin: Begin) -> Linked:
        """<model>.wasm, <model>.mjs and <model>.d.ts."""
        begin("module")
        program, folder = product.program, product.folder
        ports = slots(program, program.inputs, product.plan), slots(program, program.outputs, product.plan)
        arena = f"{program.name}_arena.c"
        (folder / arena).write_text(module.arena_source(program), encoding="utf-8")
        objects = [*product.objects, compiled(product.toolchain, arena, folder)]
        exports = (f"-Wl,--export={name}" for name in module.exported(program))
        library = link_module(product.toolchain, objects, f"{program.name}.wasm", folder, ("-Wl,--strip-all", *exports))
        library.chmod(0o644)
        (folder / f"{program.name}.mjs").write_text(module.script(program, *ports), encoding="utf-8")
        (folder / f"{program.name}.d.mts").write_text(module.declarations(program, *ports), encoding="utf-8")
        return Linked(file_sizes(library, product.sizes, product.plan), library=library.name)

    def device(self, name: str, target: Target) -> Device | None:
        """Modules are imported when a target asks for them."""
        if name == "wasmtime":
            from bevel.backends.devices.wasmtime import Wasmtime

            return Wasmtime(target)
        if name == "chromium":
            from bevel.backends.devices.chromium import Chromium

            return Chromium(target)
        return None


BACKEND = Wasm((simd,))
