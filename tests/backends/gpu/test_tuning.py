"""Tuning of a GPU's kernels: work-groups and sums of a thread change no result, and the device's clock decides, or an
estimate that says what it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bevel.backends import search as searching
from bevel.backends.binary.artifact import Artifact
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices import opencl
from bevel.backends.devices.base import CallCost, DeviceKind, Measurement, Vectors
from bevel.backends.devices.native import HarnessError
from bevel.backends.devices.opencl import FirstDevice, OpenCl
from bevel.backends.gpu import groups, nvcc, ranking
from bevel.backends.gpu.chip import Chip, chip_of
from bevel.backends.gpu.launched import LaunchNumbers
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resources
from bevel.backends.search import search
from bevel.backends.select import tune, tuned
from bevel.backends.select.tune import Selection
from bevel.backends.target import Target, load
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from bevel.tools.run.tuning import judge_of

OPENCL = load("opencl")
GPU = 4  # of CL_DEVICE_TYPE


def silent(done: int, total: int) -> None:
    pass


def network() -> tuple[Program, Vectors]:
    """A product of 12 rows by weights, a clip, and floats, which are the host's."""
    gemm, rng = Gemm(12, 16, 24, Output(3)), np.random.default_rng(0)
    x, *constants = gemm.example(rng)
    size = 12 * 24
    kinds = {"x": "int8", "a": "int8", "b": "int8", "y": "float32"}
    buffers = {name: Buffer(name, x.shape if name == "x" else (size,), kind) for name, kind in kinds.items()}
    calls = (
        Call("gemm", gemm, ("x",), tuple(constants), "a"),
        Call("clip", Clip(size, -50, 50), ("a",), (), "b"),
        Call("floats", Dequantize(size, 0.5, 3), ("b",), (), "y"),
    )
    program = Program("net", (Port("x", "x", x.shape, "int8"),), (Port("y", "y", (size,), "float32"),), buffers, calls)
    return program, Vectors({"x": x[None]}, {"y": program.run({"x": x})["y"][None]})


def chosen(variant: str = "") -> dict[str, Selection]:
    """The kernels of `network`, in groups of 32, with other sums where that is asked for."""
    calls = searching.arranged(network()[0], OPENCL).calls
    found = {}
    for call in calls[:2]:
        name = tune.key(call.kernel)
        others = [tune.key(one) for one in tune.variants(call.kernel) if variant in tune.key(one)]
        found[name] = Selection((others or [name])[0], ("group=32",))
    return found


@pytest.mark.parametrize("variant", ["sums=1", "sums=8"])
def test_groups_and_sums_of_a_thread_change_no_result(variant: str, target: Target, tmp_path: Path) -> None:
    program, vectors = network()
    artifact = build(program, target, tmp_path, vectors, BuildOptions(selections=chosen(variant)))
    assert OpenCl(target).measure(artifact, vectors).mismatches == 0
    sums = int(variant[-1])
    launches = (tmp_path / "net_tables.c").read_text().split("net_launches[] = {")[1].split("};")[0]
    rows = [line.split(", ") for line in launches.splitlines() if '"' in line]
    assert [(int(row[1]), int(row[2])) for row in rows] == [(-(-12 * 24 // sums // 32), 32), (9, 32)]


@dataclass
class Scripted:
    """A GPU whose launches take what a list says; None in it: it refuses the work-groups."""

    costs: list[tuple[float, ...] | None]
    kind: DeviceKind = "host"
    name: str = "scripted"

    def missing(self) -> str | None:
        return None

    def tool(self) -> str:
        return "a GPU"

    def measure(self, artifact: Artifact, given: Vectors) -> Measurement:
        spent = self.costs.pop(0)
        if spent is None:
            raise HarnessError("the device allows no work-group of that size")
        costs = tuple(CallCost(index, Resources({"latency": one})) for index, one in enumerate(spent))
        return Measurement("scripted", self.kind, "a GPU", len(given), 0, per_call=costs)


def found(*costs: tuple[float, ...] | None) -> list[tuned.Found]:
    program, vectors = network()
    return list(search(program, OPENCL, Scripted(list(costs)), vectors, len(costs), {}, silent).values())


def test_the_fastest_by_the_devices_clock_is_kept_and_what_the_host_computes_is_left_alone() -> None:
    gemm, clip = found((5e-6, 3e-6), (9e-6, 2e-6), (4e-6, 9e-6))
    assert (gemm.before, gemm.spent, gemm.tried) == (5e-6, 4e-6, 3)
    assert (clip.before, clip.spent, clip.selection.flags) == (3e-6, 2e-6, ("group=32",))


def test_times_that_hardly_differ_decide_nothing() -> None:
    gemm, clip = found((5e-6, 3e-6), (4.8e-6, 2.9e-6))
    assert (gemm.spent, gemm.selection.flags, clip.spent) == (5e-6, (), 3e-6)


def test_work_groups_that_the_device_refuses_are_not_taken() -> None:
    gemm, clip = found((5e-6, 3e-6), None, (4e-6, 2e-6))
    assert (gemm.spent, clip.spent) == (4e-6, 2e-6)
    with pytest.raises(HarnessError):
        found(None, (1e-6, 1e-6))


def test_a_device_without_times_is_told() -> None:
    with pytest.raises(UserError, match="a GPU tells no latency"):
        found(())


def test_where_there_is_no_gpu_an_estimate_ranks_or_the_reason_is_told(target: Target) -> None:
    assert judge_of(load("cuda-sm90"), None) is None
    with pytest.raises(UserError, match="there is no device; and mali-g57 names no chip to estimate them for"):
        judge_of(load("mali-g57"), None)
    if OpenCl(target).kind == "simulator":
        with pytest.raises(UserError, match="on a CPU, its time means nothing"):
            judge_of(target, OpenCl(target))


def test_estimates_are_kept_apart_from_what_a_device_told() -> None:
    assert searching.place_of(OPENCL, Scripted([])) == ("opencl", "a GPU")
    core, by = searching.place_of(load("cuda-sm87"), None)
    assert core == "cuda-sm87" and by.startswith("estimate")


def test_fewer_accesses_are_ranked_first_as_long_as_they_fill_the_chip() -> None:
    chip = chip_of(load("cuda-sm87"))

    def seconds(groups: int, accesses: int, occupancy: float = 1.0) -> float:
        launch = LaunchNumbers("f", (), (), groups, 128, accesses)
        taken = ranking.estimated_seconds(chip, [launch], {"f": occupancy}, 1, 1e-9)
        assert taken is not None
        return taken

    assert seconds(1000, 5_000_000) < seconds(2000, 8_000_000)
    assert seconds(8, 50_000) > seconds(64, 80_000)
    assert seconds(1000, 5_000_000, occupancy=0.25) > seconds(1000, 5_000_000)
    assert ranking.estimated_seconds(Chip("opencl"), [], {}, 1, 0) is None
    assert ranking.in_use(chip, 1, 32, 1.0) == pytest.approx(1 / 16 / 24)
    assert ranking.in_use(chip, 12 * 16, 128, 1.0) == 1.0


def test_kernels_of_cuda_are_ranked_without_a_device() -> None:
    if why := nvcc.missing():
        pytest.skip(why)
    program, vectors = network()
    target = load("cuda-sm87")
    gemm, clip = search(program, target, None, vectors, 3, {}, silent).values()
    assert gemm.tried == clip.tried == 3
    assert 0 < gemm.spent <= gemm.before and 0 < clip.spent <= clip.before


@pytest.mark.parametrize("flags", [("group=48",), ("group=32", "group=64"), ("-O2",)])
def test_flags_of_another_kind_are_our_bug(flags: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="of a GPU's kernel"):
        groups.group_of(flags, chip_of(OPENCL))


@pytest.mark.long
def test_launches_of_a_device_that_says_it_is_a_gpu_are_timed_and_remembered(
    target: Target, counting: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = opencl.first_device()
    assert real is not None
    gpu = FirstDevice(real.name, GPU, real.version, counting | {"COUNT_OPENCL_GPU": "1"})
    monkeypatch.setattr(opencl, "first_device", lambda: gpu)
    device, (program, vectors), path = OpenCl(target, 0.05), network(), tmp_path / "tuned.json"
    assert judge_of(target, device) is device
    table = searching.remembered(path, program, target, device, vectors, 3, silent)
    assert len(table) == 2 and all(0 < one.spent <= one.before < 60 and one.tried == 3 for one in table.values())
    assert list(json.loads(path.read_text())["opencl"]) == [device.tool()]
    monkeypatch.setattr(searching, "measure", None)  # not called again
    assert searching.remembered(path, program, target, device, vectors, 3, silent) == table
