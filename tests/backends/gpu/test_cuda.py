"""CUDA: nvcc builds the kernels without spilling, and the product says to the driver what its tables hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compile_strictly import compile_strictly

from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import for_target, printed_version
from bevel.backends.build import build
from bevel.backends.devices import cuda
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.gpu_product import build_harness
from bevel.backends.devices.native import pack
from bevel.backends.gpu import nvcc, statics, tensor_kernels
from bevel.backends.gpu.chip import chip_of
from bevel.backends.gpu.headers import HANDLE_BYTES, handle_offset
from bevel.backends.gpu.occupancy import occupancy
from bevel.backends.gpu.roofline import least_seconds
from bevel.backends.gpu.tensor_kernels import matrix_dots
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError
from kernel_cases import cases
from kernel_programs import program_of

HERE = Path(__file__).parent
TARGETS = ("cuda-sm87", "cuda-sm90")


def network() -> tuple[Program, Vectors]:
    """A convolution of 3x3 over three channels, a depthwise one, one of 1x1, a product by weights, one of activations,
    a clip."""
    conv = Conv(1, 6, 6, 3, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, 3, Output(-7, -128, 127))
    deep = replace(conv, channels_in=8, groups=8, x_zero_point=-7)
    point = replace(deep, groups=1, kernel=(1, 1), pads=(0, 0, 0, 0))
    gemm = Gemm(1, 288, 16, Output(3))
    square = mat_mul.product((), 4, 4, 4, 0.01, a_zero_point=3, b_zero_point=3)
    rng = np.random.default_rng(0)
    x, *first = conv.example(rng)
    others = [kernel.example(rng)[1:] for kernel in (deep, point, gemm)]
    shapes = {"x": x.shape, **dict.fromkeys("abc", (1, 6, 6, 8)), **dict.fromkeys("dey", (16,))}
    buffers = {name: Buffer(name, shape, "int8") for name, shape in shapes.items()}
    calls = (
        Call("conv", conv, ("x",), tuple(first), "a"),
        Call("deep", deep, ("a",), others[0], "b"),
        Call("point", point, ("b",), others[1], "c"),
        Call("gemm", gemm, ("c",), others[2], "d"),
        Call("square", square, ("d", "d"), (), "e"),
        Call("clip", Clip(16, -50, 50), ("e",), (), "y"),
    )
    program = Program("net", (Port("x", "x", x.shape, "int8"),), (Port("y", "y", (16,), "int8"),), buffers, calls)
    return program, Vectors({"x": x[None]}, {"y": program.run({"x": x})["y"][None]})


@pytest.fixture(scope="module", params=TARGETS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The product; where there is no nvcc, with kernels that are no more than the begin of an ELF file."""
    target = load(request.param)
    try:
        for_target(target)
    except UserError as error:
        pytest.skip(str(error))
    program, vectors = network()
    with pytest.MonkeyPatch.context() as patch:
        if nvcc.missing():
            patch.setattr(nvcc, "machine_code", lambda source, arch: nvcc.MachineCode(b"\x7fELF", {}))
        return build(program, target, tmp_path_factory.mktemp("cuda"), vectors)


@pytest.fixture
def assembled(built: Artifact) -> Artifact:
    if why := nvcc.missing():
        pytest.skip(why)
    return built


def test_no_kernel_spills_registers_and_products_take_four_at_a_time(assembled: Artifact) -> None:
    told = {call.node: next(one.answer for one in call.asked if one.rule == "threads") for call in assembled.calls}
    assert re.fullmatch(
        r"1 launch, 72 threads; \d+ registers, 0 bytes spilled, \d+ dp4a, 0 mma, \d+% occupancy \(static\); "
        r"756 bytes moved at least \(static\); [\d.e-]+ us at least \(estimate: roofline\)",
        told["conv"],
    ), told
    known = statics.load(assembled.folder, "net")
    assert [call.kernel for call in known] == [call.kernel for call in assembled.calls]
    assert [call.kernel for call in known[:2]] == ["PatchDots", "DepthwiseWordDots"]
    assert [call.kernel for call in known[2:5]] == ["WordDots", "WordDots", "ProductDots"]
    assert not any(one.spilled for call in known for one in call.taken)
    assert [call.int8 for call in known] == [True] * 5 + [False]
    assert [all(one.dots for one in call.taken) for call in known] == [True] * 5 + [False]


@pytest.mark.parametrize("name", TARGETS)
def test_tensor_cores_multiply_matrices_without_spilling(name: str, tmp_path: Path) -> None:
    if why := nvcc.missing():
        pytest.skip(why)
    several = [(f"{module}_{index}", case) for module, index, case in cases(tensor_kernels)]
    program, vectors = program_of(several)
    build(program, load(name), tmp_path, vectors)
    for call in statics.load(tmp_path, program.name):
        assert call.kernel == "MatrixDots" and call.least_s and call.least_s > 0
        assert all(one.matrices and not one.dots and not one.spilled for one in call.taken) and call.taken


def test_nvccs_version_is_known() -> None:
    if why := nvcc.missing():
        pytest.skip(why)
    assert re.fullmatch(r"\d+\.\d+\.\d+", nvcc.version())
    assert nvcc.version().startswith(f"{printed_version(nvcc.COMMAND)}.")


def point(rows: int = 16, deep: int = 16, out: int = 8) -> Call:
    kernel = Gemm(rows, deep, out, Output(3))
    _, *others = kernel.example(np.random.default_rng(0))
    return Call("gemm", kernel, ("x",), tuple(others), "y")


@pytest.mark.parametrize(
    ("target", "call", "why"),
    [
        ("opencl", point(), "opencl has no matrix products of a warp"),
        ("cuda-sm90", point(rows=15), "15 pixels are fewer than 16"),
        ("cuda-sm90", point(deep=24), "24 input channels of a group are no whole 16"),
        ("cuda-sm90", point(out=12), "12 output channels are no whole 8"),
    ],
)
def test_shapes_that_fill_no_matrix_are_refused_with_the_reason(target: str, call: Call, why: str) -> None:
    assert matrix_dots.specialize(call, load(target)) == why
    assert not isinstance(matrix_dots.specialize(point(), load("cuda-sm90")), str)


def test_a_call_takes_as_long_as_its_slower_side_at_least() -> None:
    chip = chip_of(load("cuda-sm87"))
    assert least_seconds(chip, 2048, 0, True, True) == pytest.approx(1e-8)
    assert least_seconds(chip, 0, 53, True, False) == pytest.approx(1e-11)
    assert least_seconds(chip, 2048, 425_000, True, True) == pytest.approx(1e-8)
    assert least_seconds(chip, 2048, 850_000, True, True) == pytest.approx(2e-8)
    assert least_seconds(chip, 0, 53, False, False) == pytest.approx(4e-11)
    assert least_seconds(chip_of(load("opencl")), 2048, 0, True, True) is None


@pytest.mark.parametrize(
    ("target", "threads", "registers", "part"),
    [
        ("cuda-sm87", 128, 32, 1.0),
        ("cuda-sm87", 128, 64, 32 / 48),
        ("cuda-sm87", 128, 255, 8 / 48),
        ("cuda-sm87", 32, 16, 16 / 48),
        ("cuda-sm87", 96, 40, 1.0),
        ("cuda-sm90", 128, 40, 48 / 64),
        ("cuda-sm90", 1, 16, 32 / 64),
    ],
)
def test_occupancy_is_what_the_first_limit_leaves(target: str, threads: int, registers: int, part: float) -> None:
    """Of threads, registers, or work-groups."""
    assert occupancy(chip_of(load(target)), threads, registers) == part


@pytest.fixture(scope="module")
def harness(built: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the harness, its vectors, and a driver that writes down what it is told."""
    folder, toolchain = tmp_path_factory.mktemp("mock"), for_target(load("host"))
    build_harness(built, toolchain, folder)
    _, vectors = network()
    (folder / "vectors.bin").write_bytes(pack(built, vectors))
    (folder / "mock.c").write_bytes((HERE / "mock_cuda.c").read_bytes())
    toolchain.link([toolchain.compile("mock.c", folder)], "mock.so", folder, ("-shared",))
    return folder


@pytest.mark.parametrize("timed", ["", "-Dnet_TIMED"])
@pytest.mark.parametrize("language", ["c11", "c++17"])
def test_what_surrounds_the_kernels_compiles_without_a_warning(
    language: str, timed: str, built: Artifact, tmp_path: Path
) -> None:
    compile_strictly(built, language, tmp_path, timed)


def run(harness: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    mock = {"BEVEL_CUDA_LIBRARY": "./mock.so", "MOCK_CUDA_LOG": "log.txt", "MOCK_CUDA_POINTERS": "2"}
    command = ["./harness", "vectors.bin", "outputs.bin", "", *words]
    return subprocess.run(command, cwd=harness, env=os.environ | mock | environment, capture_output=True, text=True)


def test_a_run_tells_the_driver_what_the_tables_hold(built: Artifact, harness: Path) -> None:
    done = run(harness)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "mock 0\nno cpu\n"
    lines = (harness / "log.txt").read_text().splitlines()
    places, plan = built.plan.offsets, built.plan
    assert lines[0] == f"memory 0 {plan.arena_bytes}" and lines[1].startswith("memory 1 ")
    loaded = lines.index("module 127697670")  # an ELF file
    weights = lines[2 : loaded - 1]
    assert f"#define net_CONSTANTS {len(weights)}u\n" in (built.folder / "net_device.h").read_text()
    assert all(re.fullmatch(r"write 1\+\d+ \d+", line) for line in weights)
    assert lines[loaded - 1] == "wait"
    launches = [line.split() for line in lines if line.startswith("launch")]
    order = [loaded + 1 + number for number in range(len(launches) + 3)]
    assert [lines[place].split()[0] for place in order] == ["write", *("launch" for _ in launches), "read", "wait"]
    assert lines[loaded + 1] == f"write 0+{places['x']} {6 * 6 * 3}"
    assert lines[order[-2]] == f"read 0+{places['y']} 16"
    assert [one[1] for one in launches] == [f"{call.symbol}_0" for call in built.calls]
    threads = [int(one[2]) * int(one[3]) for one in launches]
    assert all(some >= least for some, least in zip(threads, (72, 72, 72, 4, 4, 16), strict=True))
    assert [one[4] for one in launches] == [f"0+{places[name]}" for name in "xabcde"]
    assert launches[5][5] == f"0+{places['y']}"
    assert sorted(line.split()[1] for line in lines if line.startswith("free")) == ["0+0", "1+0"]
    assert lines[-1] == "release 0"


def test_a_device_runs_what_was_built_for_an_earlier_one_of_its_kind(
    harness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", str(harness / "mock.so"))
    assert cuda.Cuda(load("cuda-sm90")).missing() is None
    assert cuda.Cuda(load("cuda-sm87")).missing() == "mock 0 is sm_92; cuda-sm87 needs sm_87"
    assert not cuda.CudaDevice("one", 86).runs("sm_87") and cuda.CudaDevice("one", 87).runs("sm_87")


def test_recorded_launches_are_one_command_of_a_run(built: Artifact, harness: Path) -> None:
    done = run(harness, "recorded")
    assert done.returncode == 0, done.stderr
    lines = [line.split()[0] for line in (harness / "log.txt").read_text().splitlines()]
    behind = lines[lines.index("module") + 1 :]
    count = len(built.calls)
    assert behind[: count + 5] == [*["record"] * count, "write", "graph", "read", "wait", "wait"]
    assert f"graph {count}\n" in (harness / "log.txt").read_text() and behind.count("forget") == 1


BOUND = """
import ctypes
model, mock, room = ctypes.CDLL("./net.so"), ctypes.CDLL("./mock.so"), ctypes.create_string_buffer({bytes} + 64)
arena, buffer = ctypes.c_void_p(ctypes.addressof(room) + 63 & ~63), ctypes.c_uint64()
assert model.net_init(arena, None, None) == 0
mock.cuMemAlloc_v2(ctypes.byref(buffer), ctypes.c_size_t(256))
assert model.net_bind_input_x(arena, ctypes.c_void_p(buffer.value), ctypes.c_size_t(64)) == 0
assert model.net_run(arena) == 0
model.net_destroy(arena)
"""


def test_an_input_in_a_buffer_of_the_callers_is_not_copied(built: Artifact, harness: Path) -> None:
    objects = sorted(path.name for path in harness.glob("net*.o"))
    for_target(load("host")).link(objects, "net.so", harness, ("-shared", "-ldl"))
    mock = {"BEVEL_CUDA_LIBRARY": "./mock.so", "MOCK_CUDA_LOG": "log.txt", "MOCK_CUDA_POINTERS": "1"}
    program = BOUND.format(bytes=handle_offset(built.plan) + HANDLE_BYTES)
    subprocess.run([sys.executable, "-c", program], cwd=harness, env=os.environ | mock, check=True)
    lines = (harness / "log.txt").read_text().splitlines()
    behind = lines[lines.index("memory 2 256") + 1 :]
    assert [line.split()[0] for line in behind[1:]][: len(built.calls)] == ["launch"] * len(built.calls)
    assert behind[0] == "wait" and behind[1].split()[4] == "2+64"


def test_what_records_nothing_is_told_and_the_stream_takes_commands_again(harness: Path) -> None:
    toolchain = for_target(load("host"))
    old = toolchain.compile("mock.c", harness, ("-DMOCK_CUDA_OLD",))
    toolchain.link([old], "old.so", harness, ("-shared",))
    done = run(harness, "recorded", BEVEL_CUDA_LIBRARY="./old.so")
    told = "net: the CUDA library has no cuStreamBeginCapture_v2; a newer driver is needed\n"
    assert (done.returncode, done.stderr) == (4, told)
    done = run(harness, "recorded", MOCK_CUDA_FULL_BEHIND="1")
    assert (done.returncode, done.stderr) == (4, "net: recording: out of memory (2)\n")


def test_launches_are_timed_between_two_events_each(built: Artifact, harness: Path) -> None:
    done = run(harness, "launches", "0.01")
    assert done.returncode == 0, done.stderr
    times = np.fromfile(harness / "outputs.bin", np.uint64).reshape(-1, len(built.calls))
    assert len(times) >= 5 and np.all(np.abs(times.astype(np.int64) - 5000) < 5)


def test_a_machine_without_a_driver_and_one_without_memory_are_told_in_one_line(built: Artifact, harness: Path) -> None:
    done = run(harness, BEVEL_CUDA_LIBRARY="./none.so")
    assert (done.returncode, done.stderr) == (
        4,
        "net: no CUDA here: ./none.so was not found; install NVIDIA's driver\n",
    )
    done = run(harness, MOCK_CUDA_FULL="1")
    told = f"net: {built.plan.arena_bytes} bytes of memory on mock 0: out of memory (2)\n"
    assert (done.returncode, done.stderr) == (4, told)
