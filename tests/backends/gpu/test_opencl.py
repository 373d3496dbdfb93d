"""Every operator as OpenCL equals its reference, call by call; what a device does wrong is seen behind the call."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compile_strictly import compile_strictly

from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.opencl import OpenCl
from bevel.backends.gpu import kernels, launched, trace
from bevel.backends.program.op import Op
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.ops.scatter_row import ScatterRow
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource
from bevel.backends.target import Target
from bevel.backends.tir import arithmetic, rules
from bevel.calib.arithmetic.requantize import Output
from kernel_cases import PLAIN, cases
from kernel_programs import program_of

TOGETHER = 12  # cases of a program
QUICK = 4  # programs; the others are long together


def chosen(config: pytest.Config) -> list[tuple[str, Op]]:
    """The last case of each operator and kernel, which is the largest; all of them where asked for. `--every-case` is
    known only where pytest is given this folder."""
    every = config.getoption("--every-case", False)
    found = []
    for _, several in groupby([*PLAIN, *cases(rules, kernels)], key=lambda one: one[0]):
        known = list(several)
        found += known if every else known[-1:]
    return [(f"{module}_{index}", case) for module, index, case in found]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "part" in metafunc.fixturenames:
        named = chosen(metafunc.config)
        parts = [named[first : first + TOGETHER] for first in range(0, len(named), TOGETHER)]
        metafunc.parametrize(
            "part",
            [
                pytest.param(part, id=str(number), marks=() if number < QUICK else pytest.mark.long)
                for number, part in enumerate(parts)
            ],
        )


def test_every_call_computes_what_its_reference_does(
    part: list[tuple[str, Op]], target: Target, tmp_path: Path
) -> None:
    program, vectors = program_of(part)
    artifact = build(program, target, tmp_path, vectors)
    known = trace.load(tmp_path)
    assert known is not None and len(known.digests) == len(vectors)
    measured = OpenCl(target).measure(artifact, vectors)
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
    if measured.kind == "simulator":
        assert not measured.spent


def small_conv() -> tuple[Conv, tuple[Any, ...]]:
    kernel = Conv(1, 6, 6, 4, 8, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1, 3, Output(-7, -128, 127))
    x, *constants = kernel.example(np.random.default_rng(0))
    return kernel, (x, *constants)


def hidden_program(high: int) -> tuple[Program, Vectors]:
    """A convolution whose results are clamped to one value each where `high` is 0."""
    kernel, (x, *constants) = small_conv()
    size = 6 * 6 * 8
    buffers = {
        "x": Buffer("x", x.shape, "int8"),
        "c": Buffer("c", (1, 6, 6, 8), "int8"),
        "y": Buffer("y", (size,), "int8"),
    }
    calls = (Call("conv", kernel, ("x",), tuple(constants), "c"), Call("clip", Clip(size, 0, high), ("c",), (), "y"))
    program = Program("hidden", (Port("x", "x", x.shape, "int8"),), (Port("y", "y", (size,), "int8"),), buffers, calls)
    return program, Vectors({"x": x[None]}, {"y": program.run({"x": x})["y"][None]})


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels made from now on do not round."""

    def requantize(accumulator: Any, multiplier: Any, shift: Any, output: Output) -> Any:
        wide = arithmetic._wide(multiplier) * arithmetic.T.cast(accumulator, "int64")
        return arithmetic.store(arithmetic.T.cast(wide >> arithmetic.T.cast(shift, "int64"), "int32"), output)

    monkeypatch.setattr(arithmetic, "requantize", requantize)
    monkeypatch.setattr(launched, "remembered", lambda kind, parts, make: make())


def test_rounding_that_is_left_out_is_seen(unrounded: None, target: Target, tmp_path: Path) -> None:
    program, vectors = hidden_program(high=127)
    measured = OpenCl(target).measure(build(program, target, tmp_path, vectors), vectors)
    assert measured.mismatches > 0 and not measured.spent


def test_it_is_seen_behind_the_call_where_outputs_hide_it(unrounded: None, target: Target, tmp_path: Path) -> None:
    program, vectors = hidden_program(high=0)
    assert not vectors.expected["y"].any()
    measured = OpenCl(target).measure(build(program, target, tmp_path, vectors), vectors)
    assert measured.mismatches == 1
    assert measured.first_mismatch == "call 0, conv, of vector 0 wrote something else"


def test_other_vectors_than_those_of_the_build_are_held_to_their_outputs(target: Target, tmp_path: Path) -> None:
    program, vectors = hidden_program(high=127)
    artifact = build(program, target, tmp_path, vectors)
    x = -vectors.inputs["x"][:, ::-1]
    others = Vectors({"x": x}, {"y": program.run({"x": x[0]})["y"][None]})
    assert OpenCl(target).measure(artifact, others).mismatches == 0
    others.expected["y"][0, 5] ^= 1
    assert OpenCl(target).measure(artifact, others).mismatches == 1


def test_float_edges_are_the_hosts(target: Target, tmp_path: Path) -> None:
    size = 70
    calls = (
        Call("quantize", Quantize(size, 0.5, 3), ("x",), (), "q"),
        Call("clip", Clip(size, -90, 90), ("q",), (), "c"),
        Call("dequantize", Dequantize(size, 0.5, 3), ("c",), (), "y"),
    )
    kinds = {"x": "float32", "q": "int8", "c": "int8", "y": "float32"}
    buffers = {name: Buffer(name, (size,), kind) for name, kind in kinds.items()}
    ports = (Port("image:0", "x", (1, size), "float32"),), (Port("y", "y", (size,), "float32"),)
    program = Program("edges", *ports, buffers, calls)
    x = np.random.default_rng(0).normal(0, 30, (3, 1, size)).astype(np.float32)
    vectors = Vectors({"image:0": x}, {"y": np.stack([program.run({"image:0": one})["y"] for one in x])})
    artifact = build(program, target, tmp_path, vectors)
    assert [call.kernel for call in artifact.calls] == ["Clip"]
    assert "bind_input" not in (tmp_path / "edges.h").read_text()  # it is converted
    compile_strictly(artifact, "c11", tmp_path / "c")
    compile_strictly(artifact, "c++17", tmp_path / "c++")
    assert OpenCl(target).measure(artifact, vectors).mismatches == 0
    assert artifact.takes[Resource.DEVICE] < artifact.plan.arena_bytes + 64
    with OpenCl(target).opened(artifact) as run:
        np.testing.assert_array_equal(run({"image:0": x})["y"], vectors.expected["y"])


def test_what_a_run_leaves_for_the_next_stays_on_the_device(target: Target, tmp_path: Path) -> None:
    """A row of a state is written in place, in each step another one."""
    rows, width = 4, 6
    kernel = ScatterRow(rows, width, "int8", over=True)
    buffers = {
        "cache": Buffer("cache", (rows, width), "int8"),
        "row": Buffer("row", (width,), "int8"),
        "at": Buffer("at", (1,), "int64"),
        "y": Buffer("y", (rows * width,), "int8"),
    }
    inputs = (Port("row", "row", (width,), "int8"), Port("at", "at", (1,), "int64"))
    calls = (
        Call("write", kernel, ("cache", "at", "row"), (), "cache"),
        Call("read", Clip(rows * width, -100, 100), ("cache",), (), "y"),
    )
    outputs = (Port("y", "y", (rows * width,), "int8"),)
    program = Program("kept", inputs, outputs, buffers, calls, carried={"cache": 7})
    rng = np.random.default_rng(0)
    given = {"row": rng.integers(-100, 100, (5, width), np.int8), "at": np.array([[0], [2], [1], [3], [2]])}
    begins = np.array([True, False, False, True, False])
    states: dict[str, Any] = {}
    expected = []
    for step in range(5):
        if begins[step]:
            states.clear()
        expected.append(program.run({name: array[step] for name, array in given.items()}, states)["y"])
    vectors = Vectors(given, {"y": np.stack(expected)}, begins)
    artifact = build(program, target, tmp_path, vectors)
    measured = OpenCl(target).measure(artifact, vectors)
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
