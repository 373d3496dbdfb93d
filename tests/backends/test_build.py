"""A program becomes C, libraries and firmware: the right calls, honest sizes, the same bytes every time."""

import json
import re
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary import elf, toolchain
from bevel.backends.binary.artifact import Artifact, from_json, to_json
from bevel.backends.binary.c.bundle import bundle
from bevel.backends.binary.c.constants import Constant, c_type, definition
from bevel.backends.binary.c.names import comment, identifier, snake_case, unique_identifiers
from bevel.backends.binary.sizes import STACK_FLAGS, frames
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Vectors
from bevel.backends.program import memory
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resources
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.errors import UserError

WIDTH = 32


def call(node: str, kernel: Kernel, inputs: str, output: str, seed: int = 0) -> Call:
    """A call with the constants of the kernel's example; buffers have one-letter names."""
    example = kernel.example(np.random.default_rng(seed))
    return Call(node, kernel, tuple(inputs), tuple(example[len(inputs) :]), output)


def small_program() -> Program:
    """Four calls; the first and third share a kernel and all constants, the second and fourth a Clip."""
    dense = Gemm(1, WIDTH, WIDTH, Output())
    clip = Clip(WIDTH, -90, 90)
    return Program(
        name="small",
        inputs=(Port("image:0", "x", (1, WIDTH), "int8", 0.5, -3),),
        outputs=(Port("prob/*y*/", "d", (1, WIDTH), "int8", 2.0, 0),),
        buffers={name: Buffer(name, (WIDTH,), "int8") for name in "xabcd"},
        calls=(
            call("a;b/dense", dense, "x", "a"),
            call("first */ clip", clip, "a", "b"),
            call("again", dense, "b", "c"),
            call("second clip", clip, "c", "d"),
        ),
    )


def vectors(program: Program, count: int = 3) -> Vectors:
    inputs = np.random.default_rng(1).integers(-128, 128, (count, 1, WIDTH), dtype=np.int8)
    (source,), (sink,) = program.inputs, program.outputs
    return Vectors(
        {source.name: inputs}, {sink.name: np.stack([program.run({source.name: x})[sink.name] for x in inputs])}
    )


@cache
def texts() -> dict[str, str]:
    program = small_program()
    return bundle(program, memory.plan(program)).texts


def built(folder: Path, target: str, compiler: toolchain.Preference = "auto") -> Artifact:
    folder.mkdir(parents=True)
    program = small_program()
    return build(program, load(target), folder, vectors(program), BuildOptions(compiler))


def skip_without(compiler: toolchain.Preference) -> None:
    if compiler == "gcc" and toolchain.gcc_version("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")


@pytest.mark.parametrize(
    ("text", "name"),
    [("conv1/Relu;x:0", "conv1_Relu_x_0"), ("0", "v_0"), ("", "v"), ("größe", "gr_e"), ("a" * 90, "a" * 48)],
)
def test_any_onnx_name_becomes_an_identifier(text: str, name: str) -> None:
    assert identifier(text) == name


def test_names_that_would_be_equal_are_numbered() -> None:
    assert unique_identifiers(["a:0", "a/0", "A_0", "b"]) == ["a_0", "a_0_2", "A_0_3", "b"]


def test_kernel_names_are_spelled_as_c_names() -> None:
    assert [snake_case(name) for name in ("Conv", "MaxPool", "ReduceMean")] == ["conv", "max_pool", "reduce_mean"]


def test_a_node_name_cannot_end_a_comment() -> None:
    assert "*/" not in comment("x */ int y; /*\n z")
    assert "\n" not in comment("a\nb\\\n")


def test_equal_kernels_share_one_function_and_calls_in_place_have_their_own() -> None:
    program = small_program()
    generated = bundle(program, memory.plan(program))
    assert generated.calls == ("small_gemm_0", "small_clip_1_in_place", "small_gemm_0", "small_clip_1_in_place")
    assert generated.aliasing == {"small_clip_1_in_place"}
    apart = bundle(program, memory.plan(program, in_place=False))
    assert apart.calls[1] == apart.calls[3] == "small_clip_1" and not apart.aliasing


def test_equal_constants_are_stored_once() -> None:
    program = small_program()
    constants = bundle(program, memory.plan(program)).constants
    assert constants.operands[0] == constants.operands[2]
    assert constants.bytes == sum(array.nbytes for array in program.calls[0].constants)


def test_the_calls_come_in_order_with_their_nodes() -> None:
    called = re.findall(r"^  (small_\w+)\(", texts()["small.c"], re.MULTILINE)
    assert called == ["small_gemm_0", "small_clip_1_in_place", "small_gemm_0", "small_clip_1_in_place"]
    assert "/* 0: a;b/dense */" in texts()["small.c"]
    assert re.findall(r"after\((\d)\);", texts()["small_profile.c"]) == ["0", "1", "2", "3"]


def test_the_header_tells_an_application_all_it_needs() -> None:
    header = texts()["small.h"]
    assert "#define SMALL_ARENA_BYTES 64" in header and "#define SMALL_ARENA_ALIGN 16" in header
    assert "void small_run(void *arena);" in header
    assert "static inline int8_t *small_input_image_0(void *arena)" in header
    assert "static inline int8_t *small_output_prob_y(void *arena)" in header
    assert (
        "#define SMALL_INPUT_IMAGE_0_SCALE 0.5f" in header and "#define SMALL_INPUT_IMAGE_0_ZERO_POINT (-3)" in header
    )
    assert "#define SMALL_OUTPUT_PROB_Y_SCALE 2.0f" in header


@pytest.mark.parametrize("language", ["c", "c++"])
def test_the_header_compiles_alone_without_a_warning(language: str, tmp_path: Path) -> None:
    (tmp_path / "small.h").write_text(texts()["small.h"])
    (tmp_path / "use.c").write_text('#include "small.h"\nvoid use(void *arena) { *small_input_image_0(arena) = 1; }\n')
    compiler = toolchain.for_target(load("host"), "zig")
    flags = ("-std=c99" if language == "c" else "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c")
    subprocess.run([*compiler.command, "-x", language, *flags, "use.c"], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "array",
    [
        np.array([-128, 127, 0], np.int8),
        np.array([-(2**31), 2**31 - 1], np.int32),
        np.array([-(2**63), 2**63 - 1], np.int64),
        np.array([2**64 - 1], np.uint64),
        np.array([0.1, -0.0, np.inf, -np.inf, 1e-45, 3.4e38], np.float32),
        np.array([0.1, 5e-324], np.float64),
        np.array([True, False]),
        np.array(3, np.int16),
    ],
    ids=lambda array: str(array.dtype),
)
def test_constants_keep_their_bits(array: Array, tmp_path: Path) -> None:
    compiler = toolchain.for_target(load("host"), "zig")
    (tmp_path / "w.c").write_text("#include <stdint.h>\n" + definition(Constant("w", "n: w", array)))
    read = elf.read(tmp_path / compiler.compile("w.c", tmp_path, ("-Wall", "-Werror")))
    section = next(section for section in read.sections if section.name == ".rodata.w")
    assert read.bytes_of(section) == array.tobytes()


def test_an_element_type_without_a_c_type_is_named() -> None:
    with pytest.raises(ValueError, match="no C type for elements of float16"):
        c_type("float16")


@dataclass(frozen=True)
class Unfit:
    reason: str
    change: dict[str, Any]


@pytest.mark.parametrize(
    "unfit",
    [
        Unfit("is no C identifier", {"name": "my model"}),
        Unfit("is smaller than operand", {"buffers": {name: Buffer(name, (WIDTH - 1,), "int8") for name in "xabcd"}}),
        Unfit("larger than its buffer", {"inputs": (Port("x", "x", (2, WIDTH), "int8"),)}),
        Unfit("is a constant", {"constants": {"d": np.zeros(WIDTH, np.int8)}}),
    ],
    ids=lambda unfit: unfit.reason,
)
def test_a_program_that_contradicts_itself_is_refused(unfit: Unfit) -> None:
    program = replace(small_program(), **unfit.change)
    with pytest.raises(ValueError, match=unfit.reason):
        bundle(program, memory.plan(small_program()))


@pytest.mark.parametrize(("target", "compiler"), [("host", "auto"), ("cortex-m4", "auto"), ("cortex-m4", "zig")])
def test_two_builds_give_the_same_bytes(target: str, compiler: toolchain.Preference, tmp_path: Path) -> None:
    one, other = built(tmp_path / "one", target, compiler), built(tmp_path / "some" / "other", target, compiler)
    assert one.files == other.files and one.files
    assert not any(path.suffix in (".o", ".su") for path in one.folder.rglob("*"))
    assert not any(str(tmp_path).encode() in (one.folder / name).read_bytes() for name in one.files)


def test_a_microcontroller_gets_sources_archive_and_firmware(tmp_path: Path) -> None:
    artifact = built(tmp_path / "out", "cortex-m0plus")
    expected = {"small.h", "small.c", "small_kernels.c", "small_weights.c", "libsmall.a", "firmware.elf"}
    assert expected <= set(artifact.files)
    assert artifact.firmware == "firmware.elf" and artifact.library is None
    assert artifact.takes["weights"] < artifact.takes["flash"] < artifact.takes["weights"] + 32 * 1024
    assert artifact.takes["arena"] == 64 < artifact.takes["ram"]


def test_a_cpu_gets_both_libraries(tmp_path: Path) -> None:
    artifact = built(tmp_path / "out", "host")
    assert artifact.library == "libsmall.so" and artifact.archive == "libsmall.a" and artifact.firmware is None


def test_without_vectors_there_is_no_firmware(tmp_path: Path) -> None:
    artifact = build(small_program(), load("cortex-m7"), tmp_path)
    assert artifact.firmware is None and "libsmall.a" in artifact.files
    assert artifact.takes["flash"] > artifact.takes["weights"]


def test_an_artifact_survives_its_manifest(tmp_path: Path) -> None:
    artifact = build(small_program(), load("cortex-m7"), tmp_path)
    assert from_json(json.loads(json.dumps(to_json(artifact))), tmp_path) == artifact


def test_changed_files_are_found(tmp_path: Path) -> None:
    artifact = build(small_program(), load("cortex-m7"), tmp_path)
    assert artifact.changed_files() == []
    (tmp_path / "small.h").write_text("")
    (tmp_path / "libsmall.a").unlink()
    assert artifact.changed_files() == ["libsmall.a", "small.h"]


def test_a_model_too_large_for_flash_says_by_how_much_and_why(tmp_path: Path) -> None:
    target = load("cortex-m0plus").with_memory(Resources({"flash": 1000}))
    words = r"small needs [\d,]+ bytes of flash, [\d,]+ more than cortex-m0plus's 1,000 \(largest weights: a;b/dense: w"
    with pytest.raises(UserError, match=words):
        build(small_program(), target, tmp_path)


def test_a_model_too_large_for_ram_says_by_how_much_and_why(tmp_path: Path) -> None:
    target = load("cortex-m0plus").with_memory(Resources({"ram": 48}))
    words = r"small needs 64 bytes of RAM, 16 more than cortex-m0plus's 48 \(arena 64; most is live at .*: x 32, a 32\)"
    with pytest.raises(UserError, match=words):
        build(small_program(), target, tmp_path)


def test_any_resource_that_a_target_limits_is_kept_to(tmp_path: Path) -> None:
    target = replace(load("cortex-m0plus"), others=Resources({"stack": 100}))
    words = r"small needs \d+ bytes of stack, \d+ more than cortex-m0plus's 100; take a larger target$"
    with pytest.raises(UserError, match=words):
        build(small_program(), target, tmp_path)


@pytest.mark.parametrize(("ram", "remedy"), [(300, "take --inputs quantized, a larger"), (100, "take a larger")])
def test_an_input_of_floats_that_overflows_ram_alone_is_named(ram: int, remedy: str, tmp_path: Path) -> None:
    """One that is an output, too, stays in the arena."""
    calls = (
        Call("quantize", Quantize(64, 0.5, 3), ("x",), (), "q"),
        Call("clip", Clip(64, -90, 90), ("q",), (), "c"),
    )
    buffers = {"x": Buffer("x", (64,), "float32")} | {name: Buffer(name, (64,), "int8") for name in "qc"}
    outputs = Port("y", "c", (64,), "int8"), Port("again", "x", (64,), "float32")
    program = Program("net", (Port("x", "x", (64,), "float32"),), outputs, buffers, calls)
    with pytest.raises(UserError, match=f"bytes of RAM.*; {remedy} target or give --ram"):
        build(program, load("cortex-m4").with_memory(Resources({"ram": ram})), tmp_path)


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_a_model_that_fits_only_without_its_firmware_is_refused(compiler: toolchain.Preference, tmp_path: Path) -> None:
    skip_without(compiler)
    target = load("cortex-m4").with_memory(Resources({"ram": 4096}))
    program = small_program()
    with pytest.raises(UserError, match="leaves too little of cortex-m4's ram"):
        build(program, target, tmp_path, vectors(program), BuildOptions(compiler))


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_frame_sizes_are_read_from_either_compiler(compiler: toolchain.Preference, tmp_path: Path) -> None:
    skip_without(compiler)
    tools = toolchain.for_target(load("cortex-m4"), compiler)
    deep = 'char deep[5000]; __asm volatile("" : : "r"(deep) : "memory");'
    (tmp_path / "d.c").write_text(f"void deep(void) {{ {deep} }} void flat(void) {{}}")
    found = frames(tmp_path / tools.compile("d.c", tmp_path, (STACK_FLAGS[compiler],)))
    assert len(found) == 2 and 5000 <= max(found) <= 5100 and min(found) < 32


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m7"])
def test_the_archive_needs_no_library_function_but_memcpy_and_memset(target: str, tmp_path: Path) -> None:
    artifact = build(small_program(), load(target), tmp_path)
    compiler = toolchain.for_target(load(target))
    linked = compiler.link(["-Wl,--whole-archive", artifact.archive], "all.o", tmp_path, ("-r", "-nostdlib"))
    undefined = {symbol.name for symbol in elf.read(linked).symbols if symbol.section == 0}
    assert {name for name in undefined if not name.startswith("__aeabi_")} <= {"memcpy", "memset"}
