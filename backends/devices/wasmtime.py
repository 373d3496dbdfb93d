"""WebAssembly in wasmtime: outputs compared, and instructions counted by its fuel.

Fuel is taken by each instruction of WebAssembly, so it is a count that is the same everywhere; how long an instruction
takes is up to the engine and the processor.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bevel.backends.binary.artifact import Artifact, Slot
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.toolchain import for_target, wheel_version
from bevel.backends.binary.wasm_link import link_module
from bevel.backends.devices.base import CallCost, DeviceKind, Measurement, Opened, Vectors, compared, instructions
from bevel.backends.devices.native import slot_bytes, typed
from bevel.backends.program.op import Array
from bevel.backends.target import Target

FUEL = 2**62
MARKED = """#include <stdint.h>
__attribute__((import_module("bevel"), import_name("mark"))) void bevel_mark(int call);
void {model}_run_profiled(void *arena, void (*after)(int call));
void {model}_run_marked(void *arena);

void {model}_run_marked(void *arena) {{ {model}_run_profiled(arena, bevel_mark); }}
"""


@dataclass(frozen=True)
class Wasmtime:
    """Runs the module of a target for WebAssembly."""

    target: Target
    name: str = "wasmtime"
    kind: DeviceKind = "simulator"

    def missing(self) -> str | None:
        if wheel_version("wasmtime") is None:
            return "wasmtime is not installed (pip install 'bevel[wasm]'): it would run and count WebAssembly"
        return None

    def tool(self) -> str:
        return f"wasmtime {wheel_version('wasmtime')}: instructions of WebAssembly, by its fuel"

    @contextmanager
    def opened(self, artifact: Artifact) -> Iterator[Opened]:
        """The library as a function: {input port: array [N, *shape]} to the same of its outputs."""
        instance = Instance.of(artifact.folder / str(artifact.library), artifact)
        yield lambda inputs, begins=None: instance.outputs(Vectors(inputs, {}, begins))[0]

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        """Compare every output element, then count."""
        got, fuel = Instance.of(artifact.folder / str(artifact.library), artifact).outputs(vectors)
        result = compared(self, got, vectors)
        if result.mismatches:
            return result
        return replace(result, spent=instructions(median_low(fuel)), per_call=self.calls(artifact, vectors))

    def calls(self, artifact: Artifact, vectors: Vectors) -> tuple[CallCost, ...]:
        """What each call takes, in a module of its own that tells of each."""
        model, tools = artifact.model, for_target(self.target)
        with TemporaryDirectory(prefix="bevel-") as name:
            folder = Path(name)
            sources = (f"{model}_profile.c", f"{model}_arena.c")
            for file in (*(one.name for one in artifact.folder.glob("*.h")), *sources, artifact.archive):
                shutil.copyfile(artifact.folder / file, folder / file)
            (folder / "marked.c").write_text(MARKED.format(model=model), encoding="utf-8")
            objects = [compiled(tools, source, folder) for source in (*sources, "marked.c")]
            functions = (f"{model}_run_marked", f"{model}_arena", *((artifact.reset,) if artifact.reset else ()))
            exports = [f"-Wl,--export={function}" for function in functions]
            library = link_module(tools, [*objects, artifact.archive], "marked.wasm", folder, exports)
            return Instance.of(library, artifact).marked(vectors)


@dataclass
class Instance:
    """A module that is loaded, and its arena's address."""

    artifact: Artifact
    store: Any
    exports: Any
    arena: int
    marks: list[int]

    @classmethod
    def of(cls, library: Path, artifact: Artifact) -> Instance:
        wasmtime: Any = import_module("wasmtime")
        config = wasmtime.Config()
        config.consume_fuel = True
        engine = wasmtime.Engine(config)
        store = wasmtime.Store(engine)
        store.set_fuel(FUEL)
        marks: list[int] = []
        linker = wasmtime.Linker(engine)
        kind = wasmtime.FuncType([wasmtime.ValType.i32()], [])
        linker.define_func("bevel", "mark", kind, lambda call: marks.append(store.get_fuel()))
        exports = linker.instantiate(store, wasmtime.Module.from_file(engine, str(library))).exports(store)
        if "_initialize" in exports:
            exports["_initialize"](store)
        return cls(artifact, store, exports, exports[f"{artifact.model}_arena"](store), marks)

    def outputs(self, vectors: Vectors) -> tuple[dict[str, Array], list[int]]:
        """{port name: array [N, *shape]}, and the fuel of each run."""
        results: dict[str, list[Array]] = {slot.port.name: [] for slot in self.artifact.outputs}
        fuel = []
        for index in range(len(vectors)):
            self.fill(vectors, index)
            before = self.store.get_fuel()
            self.exports[self.artifact.entry](self.store, self.arena)
            fuel.append(before - self.store.get_fuel())
            for slot in self.artifact.outputs:
                results[slot.port.name].append(self.read(slot))
        return {name: np.stack(arrays) for name, arrays in results.items()}, fuel

    def marked(self, vectors: Vectors) -> tuple[CallCost, ...]:
        """What each call of the first vector takes."""
        self.fill(vectors, 0)
        before = self.store.get_fuel()
        self.exports[f"{self.artifact.model}_run_marked"](self.store, self.arena)
        left = [before, *self.marks]
        return tuple(CallCost(call, instructions(left[call] - left[call + 1])) for call in range(len(self.marks)))

    def fill(self, vectors: Vectors, index: int) -> None:
        if self.artifact.reset is not None and vectors.starts[index]:
            self.exports[self.artifact.reset](self.store, self.arena)
        for slot in self.artifact.inputs:
            data = typed(vectors.inputs[slot.port.name], slot)[index].tobytes()
            self.exports["memory"].write(self.store, data, self.arena + slot.offset)

    def read(self, slot: Slot) -> Array:
        first = self.arena + slot.offset
        data = self.exports["memory"].read(self.store, first, first + slot_bytes(slot))
        return np.frombuffer(bytes(data), slot.port.dtype).reshape(slot.port.shape)
