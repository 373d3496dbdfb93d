"""The host and user-mode emulation run the built libraries; one wrong element and there is no time."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.binary import toolchain
from bevel.backends.binary.artifact import Artifact
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices import marks, qemu_plugin
from bevel.backends.devices.base import CallCost, Measurement, Vectors
from bevel.backends.devices.host import Host
from bevel.backends.devices.native import HarnessError
from bevel.backends.devices.outputs import compare
from bevel.backends.devices.qemu_user import QemuUser, static_toolchain
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.concat import Concat
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource
from bevel.backends.target import load
from bevel.calib.errors import UserError

INPUTS = {"a": 24, "b": 8}


def two_ended() -> Program:
    """Two inputs; an int8 output that is also read on, and a float one."""
    sizes = INPUTS | {"joined": 32, "clipped": 32}
    return Program(
        name="two",
        inputs=tuple(Port(name, name, (size,), "int8", 1.0, 0) for name, size in INPUTS.items()),
        outputs=(Port("joined", "joined", (4, 8), "int8", 1.0, 0), Port("real", "real", (32,), "float32")),
        buffers={name: Buffer(name, (size,), "int8") for name, size in sizes.items()}
        | {"real": Buffer("real", (32,), "float32")},
        calls=(
            Call("join", Concat(0, ((24,), (8,))), ("a", "b"), (), "joined"),
            Call("clip", Clip(32, -50, 50), ("joined",), (), "clipped"),
            Call("real", Dequantize(32, 0.25, 3), ("clipped",), (), "real"),
        ),
    )


def vectors(program: Program, count: int = 4) -> Vectors:
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(-128, 128, (count, size), dtype=np.int8) for name, size in INPUTS.items()}
    runs = [program.run({name: array[index] for name, array in inputs.items()}) for index in range(count)]
    return Vectors(inputs, {port.name: np.stack([run[port.name] for run in runs]) for port in program.outputs})


def with_one_wrong_element(right: Vectors) -> Vectors:
    joined = right.expected["joined"].copy()
    joined[2, 1, 3] += 1
    return replace(right, expected=right.expected | {"joined": joined})


@pytest.fixture(scope="module")
def program() -> Program:
    return two_ended()


@pytest.fixture(scope="module")
def artifact(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    skip_where_missing(Host(load("host")))
    return build(program, load("host"), tmp_path_factory.mktemp("host"))


def skip_where_missing(device: Host | QemuUser) -> None:
    reason = device.missing()
    if reason is not None:
        pytest.skip(reason)


def host() -> Host:
    return Host(load("host"), seconds=0.02)


def test_every_output_is_compared_and_every_call_timed(program: Program, artifact: Artifact) -> None:
    measured = host().measure(artifact, vectors(program))
    assert (measured.mismatches, measured.first_mismatch, measured.inputs) == (0, None, 4)
    assert measured.kind == "host" and "instructions" not in measured.spent
    assert measured.spent["latency"] > 0
    assert [cost.call for cost in measured.per_call] == [0, 1, 2]


def test_one_wrong_element_is_found_and_nothing_is_timed(program: Program, artifact: Artifact) -> None:
    measured = host().measure(artifact, with_one_wrong_element(vectors(program)))
    assert measured.mismatches == 1
    assert measured.first_mismatch is not None and "input 2, output 'joined'[1, 3]" in measured.first_mismatch
    assert not measured.spent and measured.per_call == ()


def running(text: str, artifact: Artifact, folder: Path) -> Artifact:
    """The artifact, in `folder`, with another body of its run."""
    for name in artifact.files:
        (folder / name).write_bytes((artifact.folder / name).read_bytes())
    tools = toolchain.for_target(load("host"))
    (folder / "bad.c").write_text(f"void two_run(void *arena) {{ (void)arena; {text} }}")
    weak = "".join(f"void {name}() {{}}\n" for name in set(artifact.call_symbols))
    (folder / "weak.c").write_text(weak)
    objects = [tools.compile(name, folder) for name in ("bad.c", "weak.c")]
    tools.link(objects, "libtwo.so", folder, ("-shared",))
    return replace(artifact, folder=folder)


def test_a_model_that_crashes_is_reported_by_its_signal(program: Program, artifact: Artifact, tmp_path: Path) -> None:
    bad = running("*(volatile int *)8 = 1; __builtin_trap();", artifact, tmp_path)
    with pytest.raises(HarnessError, match="was ended by SIGSEGV"):
        host().measure(bad, vectors(program))


def test_a_model_that_takes_too_long_is_stopped_and_no_bug(
    program: Program, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bevel.backends.devices.native.COMPARE_LIMIT_S", 0.5)
    endless = running("for (;;) { *(volatile char *)arena = 1; }", artifact, tmp_path)
    with pytest.raises(UserError, match=r"the product did not end within 0\.5 s and was stopped: .*--device none"):
        host().measure(endless, vectors(program))


def test_vectors_of_another_shape_are_our_mistake(program: Program, artifact: Artifact) -> None:
    right = vectors(program)
    wrong = replace(right, inputs=right.inputs | {"a": right.inputs["b"]})
    with pytest.raises(ValueError, match="given to Port"):
        host().measure(artifact, wrong)


def test_a_program_without_calls_hands_its_input_through(tmp_path: Path) -> None:
    skip_where_missing(host())
    source, sink = Port("x", "x", (4,), "int8"), Port("y", "x", (2, 2), "int8")
    empty = Program("empty", (source,), (sink,), {"x": Buffer("x", (4,), "int8")}, ())
    x = np.arange(4, dtype=np.int8).reshape(1, 4)
    measured = host().measure(build(empty, load("host"), tmp_path), Vectors({"x": x}, {"y": x.reshape(1, 2, 2)}))
    assert measured.mismatches == 0 and measured.per_call == ()


LOOP = """
#ifdef __riscv
#define STEPS "1: addi %0, %0, -1\\n bnez %0, 1b"
#else
#define STEPS "1: subs %0, %0, #1\\n b.ne 1b"
#endif
__attribute__((noinline)) void bevel_mark(int call);
void bevel_mark(int call) { __asm__ volatile("" : : "r"(call)); }
static inline void turn(long turns) {
  __asm__ volatile(STEPS : "+r"(turns) : : "cc");
}
int main(void) {
  bevel_mark(0);
  bevel_mark(0);
  turn(1);
  bevel_mark(0);
  turn(100);
  bevel_mark(0);
  turn(10000);
  bevel_mark(0);
  return 0;
}
"""


@pytest.mark.parametrize("name", ["aarch64-linux", "cortex-a72", "riscv64-linux", "rv64gcv"])
def test_an_emulated_program_gives_the_same_outputs_and_instructions_and_no_time(
    name: str, program: Program, tmp_path: Path
) -> None:
    device = QemuUser(load(name))
    skip_where_missing(device)
    measured = device.measure(build(program, load(name), tmp_path), vectors(program))
    assert (measured.mismatches, measured.kind) == (0, "simulator")
    assert "time means nothing" in measured.tool and Resource.LATENCY not in measured.spent
    if not qemu_plugin.usable(device.command):
        pytest.skip("this QEMU takes no plugin")
    each = [one.spent[Resource.INSTRUCTIONS] for one in measured.per_call]
    assert len(each) == len(program.calls) and min(each) > 0
    assert 0.8 * sum(each) < measured.spent[Resource.INSTRUCTIONS] < 1.2 * sum(each)


@pytest.mark.parametrize("name", ["cortex-a72", "riscv64-linux"])
def test_marks_count_the_instructions_between_them(name: str, tmp_path: Path) -> None:
    """A loop of a known number of instructions, by turns of 1, 100 and 10,000."""
    device = QemuUser(load(name))
    skip_where_missing(device)
    if not qemu_plugin.usable(device.command):
        pytest.skip("this QEMU takes no plugin")
    (tmp_path / "loop.c").write_text(LOOP)
    tools = static_toolchain(device.target)
    tools.link([tools.compile("loop.c", tmp_path)], "loop", tmp_path, ("-static",))
    plugin = marks.arguments(device.command, tmp_path / "loop", tmp_path / "counts")
    assert plugin
    subprocess.run([device.command, *plugin, "./loop"], cwd=tmp_path, check=True)
    empty, *counts = np.fromfile(tmp_path / "counts", np.uint64)[1:].astype(int)
    assert [count - empty for count in counts] == [pytest.approx(2 * turns, abs=4) for turns in (1, 100, 10_000)]


@pytest.mark.parametrize("name", ["aarch64-linux", "riscv64-linux"])
def test_a_wrong_element_of_an_emulated_program_is_reported(name: str, program: Program, tmp_path: Path) -> None:
    device = QemuUser(load(name))
    skip_where_missing(device)
    built = build(program, load(name), tmp_path, options=BuildOptions())
    assert device.measure(built, with_one_wrong_element(vectors(program))).mismatches == 1


def test_a_device_says_which_targets_it_cannot_run() -> None:
    assert "needs thumb-none-eabihf" in (Host(load("cortex-m4")).missing() or "")
    assert "cortex-m4 is thumb-none-eabihf" in (QemuUser(load("cortex-m4")).missing() or "")


def test_a_missing_emulator_says_what_it_would_enable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for name, machine in (("aarch64-linux", "64-bit Arm"), ("riscv64-linux", "64-bit RISC-V")):
        assert f"would check the outputs of {machine} programs" in (QemuUser(load(name)).missing() or "")


def test_a_cost_cannot_be_told_of_wrong_outputs() -> None:
    with pytest.raises(ValueError, match="must not come with a cost"):
        Measurement("d", "host", "t", inputs=1, mismatches=1, per_call=(CallCost(0),))


def test_vectors_hold_as_many_outputs_as_inputs() -> None:
    with pytest.raises(ValueError, match="different numbers of samples"):
        Vectors({"x": np.zeros((2, 1))}, {"y": np.zeros((3, 1))})


def test_floats_are_compared_by_their_bits() -> None:
    expected = {"y": np.array([[0.0, np.nan, 1.0]], np.float32)}
    assert compare(expected, expected).mismatches == 0
    one_more = np.nextafter(np.float32(1), np.float32(2))
    assert compare({"y": np.array([[-0.0, np.nan, one_more]], np.float32)}, expected).mismatches == 2


def test_outputs_of_another_type_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare({"y": np.zeros(3, np.int8)}, {"y": np.zeros(3, np.uint8)})
