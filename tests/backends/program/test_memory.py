"""No two live values share a byte, and the arena is as small as can be told."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.backends.program.kernel import Kernel
from bevel.backends.program.memory import ALIGNMENT, Lifetime, Merge, Plan, aligned, plan
from bevel.backends.program.op import Array, Operand, activation, output, scratch
from bevel.backends.program.program import Buffer, Call, Port, Program


@dataclass(frozen=True)
class Fake(Kernel):
    """A kernel of given operand sizes that computes nothing."""

    inputs: tuple[int, ...]
    size: int
    scratches: tuple[int, ...] = ()
    overwrites: bool = False

    def operands(self) -> tuple[Operand, ...]:
        return (
            *(activation(f"x{i}", (size,)) for i, size in enumerate(self.inputs)),
            output("y", (self.size,)),
            *(scratch(f"s{i}", (size,), "int8") for i, size in enumerate(self.scratches)),
        )

    @property
    def in_place(self) -> bool:
        return self.overwrites

    def reference(self, *arrays: Array) -> Array:
        return np.zeros(self.size, np.int8)

    def build(self, name: str) -> Any:
        raise NotImplementedError

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        return tuple(np.zeros(size, np.int8) for size in self.inputs)


def program(
    sizes: dict[str, int],
    calls: list[tuple[str, str]],
    outputs: str = "",
    overwrites: bool = False,
    scratches: tuple[int, ...] = (),
    constants: str = "",
) -> Program:
    """Buffers of one-letter names; a call is (letters of its inputs, letter of its output); 'x' is the input."""
    built = tuple(
        Call(y, Fake(tuple(sizes[x] for x in xs), sizes[y], scratches, overwrites), tuple(xs), (), y) for xs, y in calls
    )
    return Program(
        "p",
        (Port("x", "x", (sizes["x"],), "int8"),),
        tuple(Port(name, name, (sizes[name],), "int8") for name in outputs or calls[-1][1]),
        {name: Buffer(name, (size,), "int8") for name, size in sizes.items()},
        built,
        {name: np.zeros(sizes[name], np.int8) for name in constants},
    )


def assert_sound(checked: Program, found: Plan) -> None:
    """Everything live at one time has bytes of its own, aligned and inside the arena."""
    shared = {(merge.call, merge.source, merge.output) for merge in found.merged}
    for call in range(-1, len(checked.calls) + 1):
        live = found.live_at(call)
        places = [(found.offsets[name], found.sizes[name], name) for name in live]
        if 0 <= call < len(checked.calls):
            sizes = [
                operand.bytes for operand in checked.calls[call].kernel.operands() if operand.role.value == "scratch"
            ]
            places += [(o, size, "scratch") for o, size in zip(found.scratch[call], sizes, strict=True)]
        for index, (offset, size, name) in enumerate(places):
            assert offset % ALIGNMENT == 0 and offset >= 0 and offset + size <= found.arena_bytes
            for other_offset, other_size, other in places[index + 1 :]:
                if (call, name, other) in shared or (call, other, name) in shared:
                    assert offset == other_offset
                else:
                    assert offset + size <= other_offset or other_offset + other_size <= offset


def test_a_chain_needs_its_largest_pair() -> None:
    found = plan(program({"x": 64, "a": 96, "b": 32, "y": 16}, [("x", "a"), ("a", "b"), ("b", "y")]))
    assert found.arena_bytes == found.lower_bound == 64 + 96


def test_lifetimes_span_from_the_producer_to_the_last_reader() -> None:
    found = plan(program({"x": 16, "a": 16, "y": 16, "z": 16}, [("x", "a"), ("a", "y"), ("xa", "z")], outputs="yz"))
    assert found.lifetimes == {"x": Lifetime(-1, 2), "a": Lifetime(0, 2), "y": Lifetime(1, 3), "z": Lifetime(2, 3)}


def test_an_output_may_overwrite_an_input_that_dies_there() -> None:
    found = plan(program({"x": 64, "a": 64, "y": 64}, [("x", "a"), ("a", "y")], overwrites=True))
    assert found.merged == (Merge(0, "x", "a"), Merge(1, "a", "y"))
    assert found.arena_bytes == 64 and len(set(found.offsets.values())) == 1


def test_in_place_can_be_refused() -> None:
    found = plan(program({"x": 64, "y": 64}, [("x", "y")], overwrites=True), in_place=False)
    assert found.merged == () and found.arena_bytes == 128


def test_an_input_that_is_read_later_is_not_overwritten() -> None:
    found = plan(program({"x": 64, "a": 64, "y": 64}, [("x", "a"), ("ax", "y")], overwrites=True))
    assert [merge.call for merge in found.merged] == [1]


def test_an_input_that_is_a_graph_output_is_not_overwritten() -> None:
    found = plan(program({"x": 64, "a": 64, "y": 64}, [("x", "a"), ("a", "y")], outputs="ay", overwrites=True))
    assert found.merged == (Merge(0, "x", "a"),)


def test_an_input_read_twice_by_the_call_is_not_overwritten() -> None:
    assert plan(program({"x": 64, "y": 64}, [("xx", "y")], overwrites=True)).merged == ()


def test_an_output_larger_than_the_input_has_a_place_of_its_own() -> None:
    assert plan(program({"x": 64, "y": 65}, [("x", "y")], overwrites=True)).merged == ()


def test_a_constant_buffer_takes_no_room_and_is_never_overwritten() -> None:
    found = plan(program({"x": 16, "c": 512, "y": 512}, [("cx", "y")], overwrites=True, constants="c"))
    assert "c" not in found.offsets and found.merged == ()
    assert found.arena_bytes == 16 + 512


def test_scratch_lies_apart_from_what_is_live() -> None:
    checked = program({"x": 64, "y": 64}, [("x", "y")], scratches=(40, 8))
    found = plan(checked)
    assert_sound(checked, found)
    assert found.arena_bytes == 64 + 64 + 48 + 16


def test_an_input_that_is_also_the_output_lives_throughout() -> None:
    found = plan(program({"x": 64, "a": 32}, [("x", "a")], outputs="xa"))
    assert found.lifetimes["x"] == Lifetime(-1, 1) and found.arena_bytes == 96


def test_a_small_heir_of_a_large_buffer_holds_only_its_own_bytes() -> None:
    sizes = {"x": 1024, "a": 16, "b": 1000, "y": 16}
    found = plan(program(sizes, [("x", "a"), ("a", "b"), ("ba", "y")], overwrites=True))
    assert found.arena_bytes == 1024


@st.composite
def programs(draw: st.DrawFn) -> Program:
    names = "abcdefghijkl"[: draw(st.integers(1, 12))]
    sizes = {name: draw(st.integers(1, 400)) for name in "x" + names}
    known, calls = "x", []
    for name in names:
        inputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
        calls.append(("".join(inputs), name))
        known += name
    outputs = "".join(sorted(set(draw(st.lists(st.sampled_from(names), max_size=2))) | {names[-1]}))
    scratches = tuple(draw(st.lists(st.integers(1, 100), max_size=2)))
    return program(sizes, calls, outputs, draw(st.booleans()), scratches)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(programs(), st.booleans())
def test_no_two_live_values_overlap(checked: Program, in_place: bool) -> None:
    found = plan(checked, in_place)
    assert_sound(checked, found)
    assert found.arena_bytes >= found.lower_bound
    assert found.arena_bytes <= sum(aligned(size) for size in found.sizes.values()) + sum(
        aligned(operand.bytes) for call in checked.calls for operand in call.kernel.operands() if operand.name[0] == "s"
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_long_network_with_residuals_is_planned_close_to_its_lower_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [chr(0x4E00 + index) for index in range(120)]
    sizes = {"x": 3072} | {name: int(rng.integers(16, 4096)) for name in names}
    calls = [(previous, name) for previous, name in zip(["x", *names], names, strict=False)]
    calls[2::3] = [(names[index] + names[index - 2], names[index + 1]) for index in range(1, len(names) - 1, 3)]
    checked = program(sizes, calls)
    found = plan(checked)
    assert_sound(checked, found)
    assert found.arena_bytes <= 1.02 * found.lower_bound


def test_the_same_program_gets_the_same_plan() -> None:
    checked = program({"x": 50, "a": 70, "b": 30, "y": 90}, [("x", "a"), ("xa", "b"), ("ab", "y")])
    assert plan(checked) == plan(checked)
