"""Tuning measures candidates on a device, keeps the cheapest of each kernel, and never asks twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends import search as searching
from bevel.backends.binary import toolchain
from bevel.backends.binary.artifact import Artifact
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import CallCost, DeviceKind, Measurement, Vectors
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.process import cache
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.table import Table
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.search import search
from bevel.backends.select import tune, tuned
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output

TARGET = load("cortex-m4")
if why := Unicorn(TARGET).missing():
    pytest.skip(why, allow_module_level=True)
SIZE = 40
COMPILER = toolchain.for_target(TARGET)
FLAGS = tune.FLAGS[COMPILER.kind]


def silent(done: int, total: int) -> None:
    pass


def program() -> Program:
    """in -> table -> clip -> the same table -> out."""
    values = np.arange(-128, 128, dtype=np.int16)[::-1].astype(np.int8)
    table, clip = Table(SIZE), Clip(SIZE, -100, 90)
    calls = (
        Call("first", table, ("in",), (values,), "a"),
        Call("second", clip, ("a",), (), "b"),
        Call("third", table, ("b",), (values,), "out"),
    )
    ports = [Port(name, name, (SIZE,), "int8") for name in ("in", "out")]
    buffers = {name: Buffer(name, (SIZE,), "int8") for name in ("in", "a", "b", "out")}
    return Program("tiny", (ports[0],), (ports[1],), buffers, calls)


def vectors(count: int = 4) -> Vectors:
    inputs = np.random.default_rng(0).integers(-128, 128, (count, SIZE), dtype=np.int8)
    return Vectors({"in": inputs}, {"out": np.stack([program().run({"in": one})["out"] for one in inputs])})


@dataclass
class Scripted:
    """A device whose calls cost what the trial's number says."""

    costs: list[tuple[int, ...]]
    wrong: bool = False
    name: str = "scripted"
    kind: DeviceKind = "simulator"

    def missing(self) -> str | None:
        return None

    def tool(self) -> str:
        return "none"

    def measure(self, artifact: Artifact, given: Vectors) -> Measurement:
        assert len(given) == searching.VECTORS
        plain = Measurement("scripted", "simulator", "none", len(given), 1 if self.wrong else 0, "at 3")
        spent = [Resources({"instructions": cost}) for cost in self.costs.pop(0)]
        costs = tuple(CallCost(index, one) for index, one in enumerate(spent))
        return plain if self.wrong else replace(plain, per_call=costs)


def test_the_cheapest_candidate_of_each_kernel_is_kept_over_all_its_calls() -> None:
    device = Scripted([(10, 20, 10), (30, 5, 1), (8, 9, 8)])
    found = search(program(), TARGET, device, vectors(), 3, {}, silent)
    table, clip = (found[tune.key(kernel)] for kernel in (program().calls[0].kernel, program().calls[1].kernel))
    assert (table.before, table.spent, table.selection.flags, table.tried) == (20, 16, FLAGS[2], 3)
    assert (clip.before, clip.spent, clip.selection.flags, clip.tried) == (20, 5, FLAGS[1], 3)


def test_of_equally_cheap_candidates_the_first_is_kept() -> None:
    found = search(program(), TARGET, Scripted([(1, 1, 1)] * 2), vectors(), 2, {}, silent)
    assert {one.selection.flags for one in found.values()} == {FLAGS[0]}


def test_what_saves_less_than_it_is_worth_stays_as_it_is() -> None:
    found = search(program(), TARGET, Scripted([(500, 1000, 500), (498, 995, 498)]), vectors(), 2, {}, silent)
    assert {(one.selection.flags, one.spent) for one in found.values()} == {(FLAGS[0], 1000)}


def test_what_is_known_is_not_measured_again_unless_more_is_asked_for() -> None:
    known = search(program(), TARGET, Scripted([(1, 1, 1)] * 2), vectors(), 2, {}, silent)
    assert search(program(), TARGET, Scripted([]), vectors(), 2, known, silent) == {}
    assert len(search(program(), TARGET, Scripted([(1, 1, 1)] * 3), vectors(), 3, known, silent)) == 2


def test_what_other_sources_spent_is_measured_again() -> None:
    known = search(program(), TARGET, Scripted([(1, 1, 1)] * 2), vectors(), 2, {}, silent)
    name = next(iter(known))
    known[name] = replace(known[name], sources="of another commit")
    assert list(search(program(), TARGET, Scripted([(1, 1, 1)] * 2), vectors(), 2, known, silent)) == [name]


def test_a_candidate_with_another_result_ends_the_search() -> None:
    with pytest.raises(RuntimeError, match="changed the result"):
        search(program(), TARGET, Scripted([(1, 1, 1)], wrong=True), vectors(), 1, {}, silent)


def test_on_a_simulator_the_found_kernels_cost_what_was_found(tmp_path: Path) -> None:
    device, given = Unicorn(TARGET), vectors()
    found = search(program(), TARGET, device, given, 3, {}, silent)
    options = BuildOptions(selections={name: one.selection for name, one in found.items()})
    artifact = build(program(), TARGET, tmp_path, given, options)
    measured = device.measure(artifact, given)
    assert measured.mismatches == 0
    kernels = [call.kernel for call in program().calls]
    spent = searching.by_key(searching.costs_of(measured, Resource.INSTRUCTIONS), kernels)
    assert spent == {name: one.spent for name, one in found.items()}
    assert all(one.spent <= one.before for one in found.values())


def test_kernels_that_share_weights_are_tuned_as_they_are_built(tmp_path: Path) -> None:
    gemm, rng = Gemm(8, 64, 64, Output()), np.random.default_rng(0)
    _, weights, bias, multiplier, shift = gemm.example(rng)
    buffers = {name: Buffer(name, (8, 64), "int8") for name in "xyz"}
    calls = (
        Call("first", gemm, ("x",), (weights, bias, multiplier, shift), "y"),
        Call("second", gemm, ("y",), (weights, bias + 1, multiplier, shift), "z"),
    )
    ports = [Port(name, name, (8, 64), "int8") for name in "xz"]
    tied = Program("tied", (ports[0],), (ports[1],), buffers, calls)
    inputs = rng.integers(-128, 128, (2, 8, 64), dtype=np.int8)
    given = Vectors({"x": inputs}, {"z": np.stack([tied.run({"x": one})["z"] for one in inputs])})
    found = search(tied, TARGET, Scripted([(10, 10), (5, 5)]), given, 2, {}, silent)
    artifact = build(tied, TARGET, tmp_path, given, BuildOptions(selections=tuned.selections(found)))
    assert {call.kernel for call in artifact.calls} == {"SharedTilesDsp"}
    assert [name.partition("(")[0] for name in found] == ["SharedTilesDsp"]
    assert " ".join(FLAGS[1]) in (tmp_path / "tied_kernels.c").read_text()


def test_kernels_with_flags_of_their_own_are_built_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    unused = tmp_path_factory.mktemp("cache")  # what an earlier run compiled would not be compiled again
    monkeypatch.setattr(cache, "entries", lambda: unused)
    seen: dict[str, Any] = {}
    compile_one = toolchain.Toolchain.compile

    def compile(self: toolchain.Toolchain, source: str, folder: Path, extra: Any = ()) -> str:
        seen[source] = tuple(extra)
        return compile_one(self, source, folder, extra)

    monkeypatch.setattr(toolchain.Toolchain, "compile", compile)
    name = tune.key(program().calls[1].kernel)
    artifact = build(program(), TARGET, tmp_path, None, BuildOptions(selections={name: tune.Selection(name, ("-O1",))}))
    assert "-O1" in seen["tiny_kernels_1.c"] and "-O1" not in seen["tiny_kernels.c"]
    assert "tiny_clip_1" in (tmp_path / "tiny_kernels_1.c").read_text()
    assert "-O1" in (tmp_path / "tiny_kernels_1.c").read_text()
    assert artifact.calls[1].symbol.startswith("tiny_clip_1")


def test_where_every_kernel_has_flags_no_empty_file_is_left(tmp_path: Path) -> None:
    names = [tune.key(call.kernel) for call in program().calls]
    selections = {name: tune.Selection(name, ("-O1",)) for name in names}
    build(program(), TARGET, tmp_path, None, BuildOptions(selections=selections))
    assert [path.name for path in tmp_path.glob("tiny_kernels*.c")] == ["tiny_kernels.c"]
