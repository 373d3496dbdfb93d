"""The C of a model on a GPU: without a warning as C and as C++, and one line for everything that may be missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compile_strictly import compile_strictly

from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import for_target, wheel_version
from bevel.backends.build import build
from bevel.backends.devices import gpu_product
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.gpu_product import build_harness
from bevel.backends.devices.native import pack
from bevel.backends.devices.opencl import LIBRARY, SYSTEM, OpenCl, device_of, environment, from_pip
from bevel.backends.gpu.headers import HANDLE_BYTES, handle_offset
from bevel.backends.gpu.kernels import depthwise_dots, dots, patch_dots, product_dots
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target, load
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from kernel_programs import program_of

HERE = Path(__file__).parent


def conv_program(name: str = "one") -> tuple[Program, Vectors]:
    kernel = Conv(1, 5, 5, 4, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, 3, Output(-7, -128, 127))
    x, *constants = kernel.example(np.random.default_rng(0))
    shapes = {"x": x.shape, "c": (1, 5, 5, 8), "y": (200,)}
    buffers = {one: Buffer(one, shape, "int8") for one, shape in shapes.items()}
    calls = (Call("conv", kernel, ("x",), tuple(constants), "c"), Call("clip", Clip(200, -50, 50), ("c",), (), "y"))
    program = Program(name, (Port("x", "x", x.shape, "int8"),), (Port("y", "y", (200,), "int8"),), buffers, calls)
    return program, Vectors({"x": x[None]}, {"y": program.run({"x": x})["y"][None]})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Vectors]:
    program, vectors = conv_program()
    return build(program, load("opencl"), tmp_path_factory.mktemp("one"), vectors), vectors


@pytest.fixture(scope="module")
def folder(built: tuple[Artifact, Vectors], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the harness is, with its vectors."""
    artifact, vectors = built
    place = tmp_path_factory.mktemp("harness")
    build_harness(artifact, for_target(load("host")), place)
    (place / "vectors.bin").write_bytes(pack(artifact, vectors))
    return place


def run(folder: Path, cache: str = "", *words: str, **changed: str) -> subprocess.CompletedProcess[str]:
    given = os.environ | environment() | changed
    command = ["./harness", "vectors.bin", "outputs.bin", cache, *words]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("timed", ["", "-Done_TIMED"])
@pytest.mark.parametrize("language", ["c11", "c++17"])
def test_what_surrounds_the_kernels_compiles_without_a_warning(
    language: str, timed: str, built: tuple[Artifact, Vectors], tmp_path: Path
) -> None:
    artifact, _ = built
    compile_strictly(artifact, language, tmp_path, timed)


def test_launches_are_timed_by_the_devices_own_clock_and_those_of_a_cpu_are_not_told(
    built: tuple[Artifact, Vectors], target: Target, counting: dict[str, str]
) -> None:
    artifact, vectors = built
    with gpu_product.harness(artifact, environment() | counting) as run:
        run.outputs(vectors)
        found = run.call_times(0.05)
        assert [one.call for one in found] == list(range(len(artifact.calls)))
        assert all(0 < one.spent[Resource.LATENCY] < 60 for one in found)
        whole = run.times(0.05)
    if OpenCl(target).kind == "simulator":
        assert whole is None
    else:
        assert whole is not None and whole.run > sum(one.spent[Resource.LATENCY] for one in whole.calls)


def test_a_model_of_floats_alone_is_the_hosts(target: Target, tmp_path: Path) -> None:
    """There is no kernel to build, and nothing to launch."""
    size = 9
    buffers = {"x": Buffer("x", (size,), "int8"), "y": Buffer("y", (size,), "float32")}
    ports = (Port("x", "x", (size,), "int8"),), (Port("y", "y", (size,), "float32"),)
    program = Program("floats", *ports, buffers, (Call("up", Dequantize(size, 0.5, 3), ("x",), (), "y"),))
    x = np.arange(size, dtype=np.int8)
    vectors = Vectors({"x": x[None]}, {"y": program.run({"x": x})["y"][None]})
    (tmp_path / "product").mkdir()
    artifact = build(program, target, tmp_path / "product", vectors)
    compile_strictly(artifact, "c11", tmp_path / "c")
    compile_strictly(artifact, "c++17", tmp_path / "c++")
    assert OpenCl(target).measure(artifact, vectors).mismatches == 0


def test_the_shared_library_shows_its_api_alone_and_needs_no_driver(built: tuple[Artifact, Vectors]) -> None:
    artifact, _ = built
    assert artifact.library is not None
    path = artifact.folder / artifact.library
    listed = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True)
    verbs = ("bind_input_x", "destroy", "device_name", "enqueue", "init", "queue", "record", "run", "wait")
    assert [line.split()[-1] for line in listed.stdout.splitlines()] == [f"one_{verb}" for verb in verbs]
    needed = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    assert "OpenCL" not in needed


def test_the_arena_of_a_device_is_the_planners(built: tuple[Artifact, Vectors]) -> None:
    artifact, _ = built
    text = (artifact.folder / "one_tables.c").read_text()
    assert f"one_memory_bytes[] = {{{artifact.plan.arena_bytes}, " in text
    assert artifact.plan.arena_bytes <= 1.1 * artifact.plan.lower_bound


def records(folder: Path) -> str:
    """Why the device here records no launches; empty where it does."""
    done = run(folder, "", "recorded")
    assert done.returncode == 0 or "records no launches: it has no cl_khr_command_buffer" in done.stderr
    return done.stderr


@pytest.mark.parametrize("recorded", [0, 1])
def test_a_thousand_runs_leave_nothing_and_none_waits_before_its_end(
    recorded: int, built: tuple[Artifact, Vectors], target: Target, counting: dict[str, str], folder: Path
) -> None:
    artifact, _ = built
    if recorded and (why := records(folder)):
        pytest.skip(why)
    assert artifact.library is not None
    words = (HERE / "many_runs.py", artifact.folder / artifact.library, counting[LIBRARY])
    arena = handle_offset(artifact.plan) + HANDLE_BYTES
    done = subprocess.run(
        [sys.executable, *map(str, words), str(arena), str(recorded)],
        env=os.environ | counting,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    first, second = told["first"], told["second"]
    spent = {kind: second[kind] - first[kind] for kind in first}
    nothing = dict.fromkeys(first, 0)
    commands = {"recorded": 1000} if recorded else {"launches": 2 * 1000}
    assert spent == nothing | commands | {"finishes": 1000}
    assert second["buffers"] == 2 and second["between"] == 0
    weights = artifact.takes[Resource.DEVICE] - artifact.plan.arena_bytes
    assert weights + artifact.plan.lower_bound <= second["bytes"] <= 1.1 * (weights + artifact.plan.lower_bound)
    for end in (told["gone"], told["last"]):
        assert (end["held"], end["buffers"], end["bytes"]) == (0, 0, 0)
    assert told["grown"] < 2**18


def test_launches_that_were_recorded_compute_the_same(
    built: tuple[Artifact, Vectors], target: Target, folder: Path
) -> None:
    artifact, vectors = built
    if why := records(folder):
        pytest.skip(why)
    with gpu_product.harness(artifact, environment()) as plain:
        got = replace(plain, recorded=True).outputs(vectors)
    np.testing.assert_array_equal(got["y"], vectors.expected["y"])


def test_a_device_that_records_nothing_says_so_and_runs_as_before(
    target: Target, folder: Path, counting: dict[str, str]
) -> None:
    done = run(folder, "", "recorded", **counting, COUNT_OPENCL_OLD="1")
    assert done.returncode == 4
    assert done.stderr.endswith(" records no launches: it has no cl_khr_command_buffer\n")
    assert run(folder, **counting, COUNT_OPENCL_OLD="1").returncode == 0


def test_products_of_four_are_the_devices_where_it_says_that_it_has_them(
    target: Target, counting: dict[str, str], tmp_path: Path
) -> None:
    kernels = [list(one.cases())[-1] for one in (dots, patch_dots, depthwise_dots, product_dots)]
    program, vectors = program_of([(f"k{index}", kernel) for index, kernel in enumerate(kernels)])
    artifact = build(program, target, tmp_path, vectors)
    given = counting | {"COUNT_OPENCL_DOTS": "1", "COUNT_OPENCL_LOG": str(tmp_path / "log")}
    measured = gpu_product.measured(OpenCl(target), artifact, vectors, given, 0.1)
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
    assert (tmp_path / "log").read_text() == "dots\n" * 2  # from source, and from the kept binary


def test_a_machine_without_opencl_is_told_in_one_line(folder: Path) -> None:
    done = run(folder, BEVEL_OPENCL_LIBRARY="libNothingOfTheKind.so")
    assert done.returncode == 4
    assert done.stderr == "one: no OpenCL here: libNothingOfTheKind.so was not found; install an OpenCL driver\n"


def test_pip_brings_a_device_where_the_system_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = from_pip()
    if pip is None or wheel_version("pocl-binary-distribution") is None:
        pytest.skip("PoCL of pip is not installed")
    monkeypatch.setenv("OCL_ICD_VENDORS", str(tmp_path))  # where the system's drivers would be named
    found = device_of(pip)
    assert found is not None and "PoCL" in found.version


def test_kernels_that_a_device_refuses_are_shown_with_its_log(folder: Path, target: Target, tmp_path: Path) -> None:
    for path in folder.iterdir():
        shutil.copyfile(path, tmp_path / path.name)
    source = tmp_path / "one_source.c"
    source.write_text(source.read_text().replace("__kernel void", "vooid one; " * 200 + "__kernel void"))
    toolchain = for_target(load("host"))
    toolchain.compile("one_source.c", tmp_path)
    objects = sorted(path.name for path in tmp_path.glob("*.o"))
    toolchain.link(objects, "harness", tmp_path, ("-ldl", "-lm"))
    done = run(tmp_path)
    assert done.returncode == 4
    ours = done.stderr[done.stderr.index("one: ") :]  # PoCL's compiler counts its errors before
    assert ours.startswith("one: the kernels: building failed (-11) on ") and "vooid" in ours


def test_a_program_is_built_once_for_a_device_and_its_driver(folder: Path, target: Target, tmp_path: Path) -> None:
    def answered() -> bytes:
        done = run(folder, str(tmp_path))
        assert done.returncode == 0, done.stderr
        return (folder / "outputs.bin").read_bytes()

    first = answered()
    (kept,) = tmp_path.iterdir()
    assert kept.suffix == ".clbin"
    before = kept.stat().st_mtime_ns
    assert answered() == first and kept.stat().st_mtime_ns == before
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert answered() == first
    assert kept.read_bytes() != whole[:-1] + bytes([whole[-1] ^ 1])


def test_a_folder_whose_path_is_too_long_keeps_nothing(folder: Path, target: Target, tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 240] * 5)
    deep.mkdir(parents=True)
    done = run(folder, str(deep))
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def said(program: str, artifact: Artifact, numbers: Sequence[int], vectors: Vectors) -> list[str]:
    """The lines of a program beside this file that uses the product's library, and reads the input x."""
    files = HERE / program, artifact.folder / str(artifact.library), environment().get(LIBRARY, SYSTEM)
    command = [sys.executable, *map(str, (*files, *numbers))]
    x = vectors.inputs["x"].tobytes()
    done = subprocess.run(command, input=x, env=os.environ | environment(), capture_output=True, check=True)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("order", [0, 1])
def test_a_queue_of_the_callers_is_used_in_order_and_left_to_it(
    order: int, built: tuple[Artifact, Vectors], target: Target
) -> None:
    artifact, vectors = built
    (given,), (got,) = artifact.inputs, artifact.outputs
    size = vectors.expected["y"].nbytes
    numbers = (order, handle_offset(artifact.plan) + HANDLE_BYTES, given.offset, got.offset, size)
    why, same, holders, output = said("own_queue.py", artifact, numbers, vectors)
    assert (same, holders) == ("True", "1")
    if order == 0:
        assert not why and bytes.fromhex(output) == vectors.expected["y"].tobytes()
    else:
        assert why == "one: the queue must keep its commands in order"


@pytest.mark.parametrize("recorded", [0, 1])
def test_an_input_is_read_where_it_lies_on_the_device(
    recorded: int, built: tuple[Artifact, Vectors], target: Target, folder: Path
) -> None:
    artifact, vectors = built
    if recorded and (why := records(folder)):
        pytest.skip(why)
    (given,), (got,) = artifact.inputs, artifact.outputs
    expected = vectors.expected["y"]
    numbers = (handle_offset(artifact.plan) + HANDLE_BYTES, given.offset, got.offset, expected.nbytes, recorded)
    askew, bound, first, second = said("own_buffer.py", artifact, numbers, vectors)
    assert (askew, bound) == ("one: an input begins at a multiple of 64 bytes", "None")
    assert bytes.fromhex(first) == bytes.fromhex(second) == expected.tobytes()


def test_weights_that_change_their_width_are_refused(tmp_path: Path) -> None:
    program, _ = conv_program()
    changing = Program(**(vars(program) | {"widths": (8, 4)}))
    with pytest.raises(UserError, match="leave out --switchable"):
        build(changing, load("opencl"), tmp_path)
