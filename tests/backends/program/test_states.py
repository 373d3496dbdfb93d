"""Calls with several outputs, and what a call remembers from one run to the next."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tvm.script import tirx as T

from bevel.backends.build import build
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.host import Host
from bevel.backends.devices.unicorn import Unicorn
from bevel.backends.program.bands import banding
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.memory import Lifetime, plan
from bevel.backends.program.op import Array, Operand, activation, output, state
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.program import Buffer, Call, Port, Program
from bevel.backends.program.rates import Rates
from bevel.backends.target import load

SIZE = 12


@dataclass(frozen=True)
class Fire(Kernel):
    """A cell that loses an eighth of its charge, gains x, and fires and forgets where that passes `threshold`.

    x: int8 [size]; charge: int8 [size], a quarter of what it is; fired: bool [size]; the charge itself is the state.
    """

    rates: ClassVar[Rates] = Rates(input=1.0)

    size: int
    threshold: int

    def operands(self) -> tuple[Operand, ...]:
        shape = (self.size,)
        outputs = output("charge", shape), output("fired", shape, "bool")
        return activation("x", shape), *outputs, state("held", shape, "int32")

    def results(self, *arrays: Array) -> tuple[Array, ...]:
        x, held = arrays
        charged = held - (held >> 3) + x.astype(np.int32)
        fired = charged >= self.threshold
        kept = np.where(fired, 0, charged).astype(np.int32)
        return np.clip(kept >> 2, -128, 127).astype(np.int8), fired, kept

    def reference(self, *arrays: Array) -> Array:
        return self.results(*arrays)[0]

    def build(self, name: str) -> Any:
        size, threshold = self.size, self.threshold

        @T.prim_func(s_tir=True)
        def fire(
            X: T.Buffer((size,), "int8"),
            Y: T.Buffer((size,), "int8"),
            F: T.Buffer((size,), "bool"),
            H: T.Buffer((size,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for i in T.serial(size):
                H[i] = H[i] - (H[i] >> 3) + T.cast(X[i], "int32")
                F[i] = H[i] >= threshold
                if H[i] >= threshold:
                    H[i] = 0
                Y[i] = T.cast(T.max(T.min(H[i] >> 2, 127), -128), "int8")

        return fire

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return rng.integers(-128, 128, self.size, dtype=np.int8), rng.integers(-900, 200, self.size, dtype=np.int32)


def network() -> Program:
    """Two cells one after the other, with something between them that may lie anywhere."""
    calls = (
        Call("first", Fire(SIZE, 150), ("x",), (), "a", more=("f",), states=("s",)),
        Call("clip", Clip(SIZE, -20, 31), ("a",), (), "b"),
        Call("second", Fire(SIZE, 60), ("b",), (), "y", more=("g",), states=("t",)),
    )
    kinds = {"x": "int8", "a": "int8", "b": "int8", "y": "int8", "f": "bool", "g": "bool", "s": "int32", "t": "int32"}
    buffers = {name: Buffer(name, (SIZE,), kind) for name, kind in kinds.items()}
    outputs = tuple(Port(name, name, (SIZE,), kinds[name]) for name in ("y", "f", "g"))
    return Program("cells", (Port("x", "x", (SIZE,), "int8"),), outputs, buffers, calls)


def inputs(seed: int, count: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.integers(-60, 128, SIZE, dtype=np.int8)} for _ in range(count)]


def sequence(program: Program, steps: list[dict[str, Array]]) -> list[dict[str, Array]]:
    states: dict[str, Array] = {}
    return [program.run(step, states) for step in steps]


def assert_equal(found: dict[str, Array], expected: dict[str, Array]) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_run_sees_what_the_runs_before_left() -> None:
    program, steps = network(), inputs(0, 6)
    held = [np.zeros(SIZE, np.int32), np.zeros(SIZE, np.int32)]
    for step, found in zip(steps, sequence(program, steps), strict=True):
        charge, fired, held[0] = program.calls[0].kernel.results(step["x"], held[0])
        y, last, held[1] = program.calls[2].kernel.results(np.clip(charge, -20, 31), held[1])
        assert_equal(found, {"y": y, "f": fired, "g": last})
    assert any(one["f"].any() for one in sequence(program, steps)), "nothing fires: the test shows little"


def test_without_states_every_run_is_the_first() -> None:
    program, (step, *_) = network(), inputs(1, 1)
    expected = sequence(program, [step])[0]
    for _ in range(3):
        assert_equal(program.run(step), expected)


def test_what_is_remembered_shares_its_place_with_nothing() -> None:
    program = network()
    found = plan(program)
    assert set(program.states) == {"s", "t"}
    taken = {name: range(place, place + program.buffers[name].bytes) for name, place in found.offsets.items()}
    for name in program.states:
        assert found.lifetimes[name] == Lifetime(-1, len(program.calls))
        others = set().union(*(place for other, place in taken.items() if other != name))
        assert not others & set(taken[name])
    assert found.arena_bytes >= sum(program.buffers[name].bytes for name in program.states)


class Cells:
    """The library on this machine, with an arena of its own."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program, artifact = program, build(program, load("host"), folder)
        assert artifact.library is not None
        self.library = ctypes.CDLL(str(folder / artifact.library))
        memory = np.full(artifact.plan.arena_bytes + 64, 0x5A, np.uint8)
        start = -memory.ctypes.data % 64
        self.arena = memory[start : start + artifact.plan.arena_bytes]
        self.places = {slot.port.name: slot.offset for slot in (*artifact.inputs, *artifact.outputs)}

    def reset(self) -> None:
        self.library.cells_reset(ctypes.c_void_p(self.arena.ctypes.data))

    def run(self, given: dict[str, Array]) -> dict[str, Array]:
        for name, array in given.items():
            self.arena[self.places[name] :][: array.nbytes] = array.view(np.uint8)
        self.library.cells_step(ctypes.c_void_p(self.arena.ctypes.data))
        ports = {port.name: port for port in self.program.outputs}
        return {name: self.arena[self.places[name] :][:SIZE].view(port.dtype).copy() for name, port in ports.items()}


def test_a_product_remembers_until_it_is_reset(tmp_path: Path) -> None:
    program, steps = network(), inputs(2, 5)
    cells, expected = Cells(program, tmp_path), sequence(program, steps)
    for _ in range(2):  # the second time, something else was there before
        cells.reset()
        for step, wanted in zip(steps, expected, strict=True):
            assert_equal(cells.run(step), wanted)
    assert any((cells.run(steps[0])[name] != expected[0][name]).any() for name in expected[0])


def vectors(program: Program, count: int) -> Vectors:
    given = inputs(3, count)
    found = [program.run(one) for one in given]
    stacked = {"x": np.stack([one["x"] for one in given])}
    return Vectors(stacked, {name: np.stack([one[name] for one in found]) for name in found[0]})


@pytest.mark.parametrize("core", ["host", "cortex-m4"])
def test_on_a_device_every_vector_is_a_sequence_of_its_own(core: str, tmp_path: Path) -> None:
    program, target = network(), load(core)
    device = Host(target, seconds=0.05) if core == "host" else Unicorn(target)
    if core != "host" and (why := Unicorn(target).missing()):
        pytest.skip(why)
    tests = vectors(program, 5)
    measured = device.measure(build(program, target, tmp_path, tests), tests)
    assert (measured.mismatches, measured.first_mismatch) == (0, None)
    assert measured.spent


def test_a_product_that_remembers_nothing_has_no_reset(tmp_path: Path) -> None:
    clip = Call("clip", Clip(4, -3, 3), ("x",), (), "y")
    buffers = {name: Buffer(name, (4,), "int8") for name in "xy"}
    program = Program("one", (Port("x", "x", (4,), "int8"),), (Port("y", "y", (4,), "int8"),), buffers, (clip,))
    artifact = build(program, load("cortex-m4"), tmp_path)
    assert artifact.reset is None
    assert "reset" not in (tmp_path / "one.h").read_text() + (tmp_path / "one.c").read_text()


def test_a_call_names_a_buffer_for_each_output_and_state() -> None:
    with pytest.raises(ValueError, match="node: 1 output buffers given"):
        Call("node", Fire(4, 9), ("x",), (), "y", states=("s",))
    with pytest.raises(ValueError, match="node: 0 state buffers given"):
        Call("node", Fire(4, 9), ("x",), (), "y", more=("f",))


def test_it_is_not_cut_into_bands_and_bounds_end_at_what_its_types_hold() -> None:
    program = network()
    assert banding(program, program.calls[0]) is None
    assert with_bounds(program).calls[1].input_bounds == ((-128, 127),)
