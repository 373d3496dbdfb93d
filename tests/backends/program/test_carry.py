"""States of a program lie in its arena: integers between runs, written in place where that is possible, else copied.

Every carried program is held to the one that it came from, whose states go in and out as floats.
"""

from __future__ import annotations

import numpy as np

from bevel.backends.binary.c.bundle import bundle
from bevel.backends.program.bounds import with_bounds
from bevel.backends.program.carry import carry
from bevel.backends.program.memory import plan
from bevel.backends.program.op import Array, Op, Role
from bevel.backends.program.ops.clip import Clip
from bevel.backends.program.ops.concat import Concat
from bevel.backends.program.ops.copy import Copy
from bevel.backends.program.ops.dequantize import Dequantize
from bevel.backends.program.ops.quantize import Quantize
from bevel.backends.program.ops.slice import Slice
from bevel.backends.program.ops.transpose import Transpose
from bevel.backends.program.program import Buffer, Call, Port, Program

SIZE, STEPS = 12, 6
SCALE, OTHER_SCALE, ZERO = 0.125, 0.25, -7
FLOATS = "hgop"  # states as floats, before and after a run
MOVED = (3, 4)

Made = tuple[Op, tuple[str, ...], str]


def kind(name: str) -> str:
    return "float32" if name[0] in FLOATS else "int8"


def program(calls: list[Made], inputs: str, outputs: str) -> Program:
    """Each buffer and port has a name of one letter, but for those between."""
    made = tuple(Call(f"{index}", op, read, (), written) for index, (op, read, written) in enumerate(calls))
    used = dict.fromkeys((*inputs, *(name for call in made for name in (*call.inputs, call.output))))
    sizes = dict.fromkeys(used, SIZE) | {call.output: call.kernel.roles(Role.OUTPUT)[0].size for call in made}
    buffers = {name: Buffer(name, (sizes[name],), kind(name)) for name in used}
    ports = [tuple(Port(name, name, buffers[name].shape, kind(name)) for name in side) for side in (inputs, outputs)]
    return Program("net", *ports, buffers, made)


def quantize(source: str, target: str, scale: float = SCALE, zero: int = ZERO) -> Made:
    return Quantize(SIZE, scale, zero), (source,), target


def dequantize(source: str, target: str, scale: float = SCALE, zero: int = ZERO) -> Made:
    return Dequantize(SIZE, scale, zero), (source,), target


def clip(source: str, target: str, low: int = -90, high: int = 90) -> Made:
    return Clip(SIZE, low, high), (source,), target


def join(one: str, other: str, target: str) -> list[Made]:
    """The second half of `one`, then the first of `other`: a window that moves on."""
    half = SIZE // 2
    return [
        (Slice((SIZE,), (half,), (half,), (1,)), (one,), f"{target}1"),
        (Slice((SIZE,), (0,), (half,), (1,)), (other,), f"{target}2"),
        (Concat(0, ((half,), (half,))), (f"{target}1", f"{target}2"), target),
    ]


def check(given: Program, states: dict[str, str], copies: int, carried: dict[str, int]) -> Program:
    """The carried program, which must give what `given` does step after step."""
    found = carry(given, states)
    rng, kept = np.random.default_rng(0), {}
    sizes = {port.name: port.shape for port in given.inputs}
    held: dict[str, Array] = {name: np.zeros(sizes[name], np.float32) for name in states}
    for _ in range(STEPS):
        fresh = {port.name: rng.integers(-128, 128, port.shape, dtype=np.int8) for port in found.inputs}
        expected = given.run(fresh | held)
        got = found.run(fresh, kept)
        for port in found.outputs:
            np.testing.assert_array_equal(got[port.name], expected[port.name])
        held = {into: expected[out] for into, out in states.items()}
    assert any(array.any() for array in held.values())
    assert {name: found.carried[name] for name in carried} == carried and len(found.carried) == len(states)
    assert sum(isinstance(call.kernel, Copy) for call in found.calls) == copies
    assert set(found.buffers) == found.touched
    plan(found)
    return found


def test_codes_are_kept_and_what_quantizes_them_goes() -> None:
    given = program([quantize("h", "s"), *join("s", "x", "n"), dequantize("n", "o"), clip("n", "y")], "xh", "yo")
    found = check(given, {"h": "o"}, 0, {"s": ZERO})
    assert not any(isinstance(call.kernel, Quantize | Dequantize) for call in found.calls)
    assert [port.name for port in found.inputs] == ["x"] and [port.name for port in found.outputs] == ["y"]
    assert found.state_bytes == SIZE and found.entry == "net_step"


def test_a_call_that_may_overwrite_its_input_does() -> None:
    calls = [quantize("h", "s"), clip("s", "n", -50, 60), dequantize("n", "o"), *join("n", "x", "y")]
    found = carry(program(calls, "xh", "yo"), {"h": "o"})
    first = found.calls[0]
    assert (first.inputs, first.output) == (("s",), "s") and isinstance(first.kernel, Clip)
    generated = bundle(found, plan(found))
    assert generated.aliasing == {"net_clip_0_in_place"}


def test_what_is_read_after_the_new_state_is_made_gets_a_copy() -> None:
    calls = [quantize("h", "s"), *join("s", "x", "n"), dequantize("n", "o"), clip("s", "y")]
    check(program(calls, "xh", "yo"), {"h": "o"}, 1, {"s": ZERO})


def test_scales_that_differ_keep_floats() -> None:
    calls = [quantize("h", "s"), *join("s", "x", "n"), dequantize("n", "o", OTHER_SCALE), clip("n", "y")]
    found = check(program(calls, "xh", "yo"), {"h": "o"}, 0, {"h": 0})
    assert found.state_bytes == 4 * SIZE


def test_a_zero_point_that_differs_keeps_floats() -> None:
    calls = [quantize("h", "s"), *join("s", "x", "n"), dequantize("n", "o", SCALE, 3), clip("n", "y")]
    check(program(calls, "xh", "yo"), {"h": "o"}, 0, {"h": 0})


def test_a_scale_of_few_of_the_smallest_floats_keeps_codes() -> None:
    tiny = float(np.float32(4.2e-45))  # three of the smallest steps that float32 has
    calls = [quantize("h", "s", tiny), *join("s", "x", "n"), dequantize("n", "o", tiny), clip("n", "y")]
    check(program(calls, "xh", "yo"), {"h": "o"}, 0, {"s": ZERO})


def test_transposes_that_undo_each_other_go() -> None:
    there, back = Transpose(MOVED, (1, 0)), Transpose(MOVED[::-1], (1, 0))
    calls = [
        quantize("h", "s"),
        (there, ("s",), "z"),
        *join("z", "x", "w"),
        (back, ("w",), "n"),
        dequantize("n", "o"),
        clip("w", "y"),
    ]
    found = check(program(calls, "xh", "yo"), {"h": "o"}, 0, {"z": ZERO})
    assert not any(isinstance(call.kernel, Transpose) for call in found.calls)


def test_transposes_that_do_not_undo_each_other_stay() -> None:
    there = Transpose(MOVED, (1, 0))
    calls = [
        quantize("h", "s"),
        (there, ("s",), "z"),
        *join("z", "x", "w"),
        (there, ("w",), "n"),
        dequantize("n", "o"),
        clip("w", "y"),
    ]
    found = check(program(calls, "xh", "yo"), {"h": "o"}, 0, {"s": ZERO})
    assert sum(isinstance(call.kernel, Transpose) for call in found.calls) == 2


def test_states_that_are_other_states_are_taken_before_these_change() -> None:
    """A chain: what came two steps ago, and what came in the last."""
    calls = [
        quantize("h", "s"),
        quantize("g", "z"),
        *join("s", "z", "y"),
        dequantize("z", "o"),
        clip("x", "n"),
        dequantize("n", "p"),
    ]
    check(program(calls, "xhg", "yop"), {"h": "o", "g": "p"}, 2, {"s": ZERO, "z": ZERO})


def test_states_that_change_places_do() -> None:
    calls = [
        quantize("h", "s"),
        quantize("g", "z"),
        *join("s", "z", "y"),
        *join("z", "x", "w"),
        clip("s", "n"),
        dequantize("w", "o"),
        dequantize("n", "p"),
    ]
    check(program(calls, "xhg", "yop"), {"h": "o", "g": "p"}, 1, {"s": ZERO, "z": ZERO})


def test_two_states_of_one_output_both_get_it() -> None:
    calls = [
        quantize("h", "s"),
        quantize("g", "z"),
        *join("s", "z", "w"),
        *join("w", "x", "n"),
        dequantize("n", "o"),
        clip("n", "y"),
    ]
    check(program(calls, "xhg", "yo"), {"h": "o", "g": "o"}, 1, {"s": ZERO, "z": ZERO})


def test_a_state_that_nothing_reads_is_kept_all_the_same() -> None:
    check(program([dequantize("x", "o"), clip("x", "y")], "xh", "yo"), {"h": "o"}, 0, {"h": 0})


def test_a_state_that_nothing_writes_stays_what_it_was() -> None:
    given = program([quantize("h", "s"), *join("s", "x", "y")], "xh", "yh")
    found = carry(given, {"h": "h"})
    assert [port.name for port in found.outputs] == ["y"] and len(found.carried) == 1


def test_an_only_output_stays_though_it_is_state() -> None:
    found = check(
        program([quantize("h", "s"), *join("s", "x", "n"), dequantize("n", "o")], "xh", "o"), {"h": "o"}, 0, {"s": ZERO}
    )
    assert [port.name for port in found.outputs] == ["o"]


def test_states_share_their_places_with_nothing_and_bounds_of_what_they_hold_are_unknown() -> None:
    calls = [quantize("h", "s"), *join("s", "x", "n"), dequantize("n", "o"), clip("n", "y")]
    found = carry(program(calls, "xh", "yo"), {"h": "o"})
    made = plan(found)
    held = range(made.offsets["s"], made.offsets["s"] + SIZE)
    for name, buffer in found.buffers.items():
        if name != "s":
            assert not set(held).intersection(range(made.offsets[name], made.offsets[name] + buffer.bytes))
    (first, *_) = with_bounds(found).calls
    assert first.inputs == ("s",) and first.input_bounds == ((-128, 127),)


def test_a_program_without_states_stays_as_it_is() -> None:
    given = program([clip("x", "y")], "x", "y")
    assert carry(given, {}) is given and given.entry == "net_run"
