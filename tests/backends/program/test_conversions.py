"""Float ports of a microcontroller: integers in the arena, floats in the application's memory, the same bits."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.program import memory
from bevel.backends.program.conversions import PART, inside, outside, split_conversions
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.target import load

SIZE = 2 * PART + 5
SCALE = float(np.float32(0.1))


def program(*calls: Call, floats: tuple[str, ...] = ("x", "y"), outputs: tuple[str, ...] = ("y",)) -> Program:
    """Calls from input x; buffers in `floats` hold float32, the others int8."""
    names = dict.fromkeys(name for call in calls for name in (*call.inputs, call.output))
    buffers = {name: Buffer(name, (SIZE,), "float32" if name in floats else "int8") for name in names}
    ports = tuple(Port(name, name, (1, SIZE), buffers[name].dtype) for name in outputs)
    return Program("m", (Port("x", "x", (1, SIZE), "float32"),), ports, buffers, calls)


QUANTIZE = Call("quantize", Quantize(SIZE, SCALE, 3), ("x",), (), "q")
CLIP = Call("clip", Clip(SIZE, -90, 90), ("q",), (), "c")
DEQUANTIZE = Call("dequantize", Dequantize(SIZE, SCALE, 3), ("c",), (), "y")
PLAIN = program(QUANTIZE, CLIP, DEQUANTIZE)


def samples(count: int) -> dict[str, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((count, 1, SIZE)).astype(np.float32) * 10
    x[0, 0, :6] = [np.nan, np.inf, -np.inf, 1e38, 0.05, -0.05]
    return {"x": x}


def vectors(one: Program, count: int = 3) -> Vectors:
    given = samples(count)
    names = [port.name for port in one.outputs]
    answers = [one.run({"x": x}) for x in given["x"]]
    return Vectors(given, {name: np.stack([answer[name] for answer in answers]) for name in names})


def test_the_arena_holds_no_float() -> None:
    apart = outside(PLAIN)
    assert [call.node for call in apart.calls] == ["clip"]
    assert memory.plan(PLAIN).arena_bytes > 4 * SIZE
    assert memory.plan(apart).arena_bytes <= 2 * memory.aligned(SIZE)


def test_results_are_those_of_the_calls_in_one_run() -> None:
    given = {"x": samples(1)["x"][0]}
    want, got = PLAIN.run(given)["y"], outside(PLAIN).run(given)["y"]
    assert got.tobytes() == want.tobytes()


def test_an_output_comes_in_parts() -> None:
    assert [call.kernel.operands()[0].size for call in outside(PLAIN).exits] == [PART, PART, 5]


def test_a_cpu_keeps_its_floats_in_the_arena() -> None:
    assert split_conversions(PLAIN, load("host")) == PLAIN
    assert inside(outside(PLAIN)).run(samples(1))["y"].tobytes() == PLAIN.run(samples(1))["y"].tobytes()


def test_an_input_that_something_else_reads_too_stays_in_the_arena() -> None:
    other = Call("copy", Copy(SIZE, "float32"), ("x",), (), "z")
    apart = outside(program(QUANTIZE, CLIP, DEQUANTIZE, other, floats=("x", "y", "z"), outputs=("y", "z")))
    assert not apart.entries and len(apart.exits) == 3


def test_an_output_that_is_read_again_stays_in_the_arena() -> None:
    again = Call("again", Quantize(SIZE, SCALE, 0), ("y",), (), "z")
    assert not outside(program(QUANTIZE, CLIP, DEQUANTIZE, again, outputs=("y", "z"))).exits


def test_a_program_of_conversions_alone_is_left() -> None:
    only = program(QUANTIZE, Call("dequantize", Dequantize(SIZE, SCALE, 3), ("q",), (), "y"))
    assert outside(only) is only


def test_an_output_is_put_into_its_order_while_it_is_integers() -> None:
    order = Call("order", Transpose((SIZE, 1), (1, 0), "float32"), ("f",), (), "y")
    floats = program(
        QUANTIZE, CLIP, Call("d", Dequantize(SIZE, SCALE, 3), ("c",), (), "f"), order, floats=("x", "f", "y")
    )
    apart = outside(floats)
    assert [type(call.kernel) for call in apart.calls] == [Clip, Transpose]
    assert all(operand.dtype == "int8" for operand in apart.calls[1].kernel.operands())
    given = {"x": samples(1)["x"][0]}
    assert apart.run(given)["y"].tobytes() == floats.run(given)["y"].tobytes()


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4"])
def test_firmware_converts_as_the_reference_does(core: str, tmp_path: Path) -> None:
    tests = vectors(PLAIN)
    artifact = build(PLAIN, load(core), tmp_path, tests)
    found = Unicorn(load(core)).measure(artifact, tests)
    assert found.mismatches == 0 and [cost.call for cost in found.per_call] == [0]


def test_firmware_sees_a_wrong_element_of_a_late_part(tmp_path: Path) -> None:
    target, tests = load("cortex-m4"), vectors(PLAIN)
    artifact = build(PLAIN, target, tmp_path, tests)
    tests.expected["y"][1, 0, 2 * PART + 1] += 1
    found = Unicorn(target).measure(artifact, tests)
    assert found.mismatches == 1 and f"input 1, output y[0, {2 * PART + 1}]" in (found.first_mismatch or "")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed: it would run a microcontroller's C here")
def test_the_application_calls_set_input_run_and_get_output(tmp_path: Path) -> None:
    build(PLAIN, load("cortex-m0plus"), tmp_path)
    (tmp_path / "use.c").write_text(
        '#include "m.h"\n'
        "void use(const float *x, float *y) {\n"
        "  static uint8_t arena[M_ARENA_BYTES] __attribute__((aligned(M_ARENA_ALIGN)));\n"
        "  m_set_input(arena, x);\n  m_run(arena);\n  m_get_output(arena, y);\n}\n"
    )
    sources = sorted(path.name for path in tmp_path.glob("*.c") if "profile" not in path.name)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", *sources, "-o", "use.so"], cwd=tmp_path, check=True)
    tests = vectors(PLAIN)
    use = ctypes.CDLL(str(tmp_path / "use.so")).use
    for x, want in zip(tests.inputs["x"], tests.expected["y"], strict=True):
        got = np.zeros_like(want)
        use(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(got.ctypes.data))
        assert got.tobytes() == want.tobytes()
