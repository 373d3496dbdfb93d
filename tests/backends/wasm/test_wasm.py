"""WebAssembly: every operator in wasmtime equals its reference, and JavaScript finds what the module says."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import javascript
from bevel.backends.binary import wasm
from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import for_target
from bevel.backends.binary.wasm_link import link_module
from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.wasmtime import Wasmtime
from bevel.backends.program.op import Op
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from kernel_cases import PLAIN
from kernel_programs import program_of
from machines import runnable


def one_of_each() -> Iterator[tuple[str, Op]]:
    """The last case of each operator: LLVM takes a second for each."""
    for module, several in groupby(PLAIN, key=lambda one: one[0]):
        *_, (_, index, case) = several
        yield f"{module}_{index}", case


CASES = list(one_of_each())


@pytest.fixture(scope="module")
def target() -> Target:
    return runnable("wasm32", Wasmtime)


@pytest.fixture(scope="module")
def built(target: Target, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Vectors]:
    program, vectors = program_of(CASES)
    return build(program, target, tmp_path_factory.mktemp("wasm"), vectors), vectors


@pytest.mark.long
def test_webassembly_computes_what_the_references_do(target: Target, built: tuple[Artifact, Vectors]) -> None:
    measured = Wasmtime(target).measure(*built)
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
    each = [one.spent[Resource.INSTRUCTIONS] for one in measured.per_call]
    assert len(each) == len(CASES) and min(each) > 0
    assert measured.spent[Resource.INSTRUCTIONS] == pytest.approx(sum(each), rel=0.05)


def test_a_wrong_element_is_found(target: Target, built: tuple[Artifact, Vectors]) -> None:
    artifact, vectors = built
    name = artifact.outputs[0].port.name
    wrong = vectors.expected[name].copy()
    wrong.reshape(-1)[0] = not wrong.reshape(-1)[0]
    measured = Wasmtime(target).measure(artifact, Vectors(vectors.inputs, vectors.expected | {name: wrong}))
    assert measured.mismatches == 1 and not measured.spent and not measured.per_call


def test_javascript_runs_the_module(built: tuple[Artifact, Vectors], tmp_path: Path) -> None:
    """All inputs go in and all outputs come out as the typed arrays that the module names."""
    artifact, vectors = built
    given = {name: b64encode(array[0].tobytes()).decode() for name, array in vectors.inputs.items()}
    body = """
for (const [name, values] of Object.entries(given)) bytes(model.inputs[name]).set(Buffer.from(values, "base64"));
model.run();
answer(Object.entries(model.outputs).map(([name, view]) => [name, view.length, bytes(view).toString("base64")]));
"""
    rows = javascript.answer(artifact.folder, artifact.model, given, body, tmp_path)
    found = {name: (length, b64decode(data)) for name, length, data in rows}
    assert set(found) == set(vectors.expected)
    different = [name for name, one in vectors.expected.items() if found[name] != (one[0].size, one[0].tobytes())]
    assert different == []


def test_types_name_every_port(built: tuple[Artifact, Vectors]) -> None:
    artifact, _ = built
    text = (artifact.folder / f"{artifact.model}.d.mts").read_text()
    assert all(f'readonly "{slot.port.name}": ' in text for slot in (*artifact.inputs, *artifact.outputs))


def test_sections_are_those_of_the_file(built: tuple[Artifact, Vectors]) -> None:
    artifact, _ = built
    data = (artifact.folder / str(artifact.library)).read_bytes()
    sizes = dict(wasm.sections(data))
    assert wasm.is_wasm(data) and sizes[wasm.CODE] > 0 and sizes[wasm.DATA] > 0
    assert artifact.takes[Resource.FLASH] == sizes[wasm.CODE] + sizes[wasm.DATA]


@pytest.mark.parametrize(("data", "value"), [(b"\x05", 5), (b"\xe5\x8e\x26", 624485), (b"\x80\x01", 128)])
def test_numbers_are_leb128(data: bytes, value: int) -> None:
    assert wasm.unsigned(data, 0) == (value, len(data))


@pytest.mark.long  # zig makes a C library, the first time
def test_a_module_takes_from_the_c_library_what_a_core_has_not(target: Target, tmp_path: Path) -> None:
    (tmp_path / "calls.c").write_text("float erff(float x);\nfloat twice(float x) { return 2 * erff(x); }\n")
    toolchain = for_target(target)
    objects = [toolchain.compile("calls.c", tmp_path)]
    library = link_module(toolchain, objects, "calls.wasm", tmp_path, ["-Wl,--export=twice"])
    wasmtime: Any = pytest.importorskip("wasmtime")
    engine = wasmtime.Engine()
    store = wasmtime.Store(engine)
    exports = wasmtime.Instance(store, wasmtime.Module.from_file(engine, str(library)), []).exports(store)
    assert exports["twice"](store, 0.5) == pytest.approx(2 * math.erf(0.5))
