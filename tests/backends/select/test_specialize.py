"""Kernels are chosen by what they cost, under the user's objective; every rule is asked, and every answer kept."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.backend import backend_of
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Op
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.table import Table
from bevel.backends.program.program import TAKEN, Buffer, Call, Port, Program
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.select import specialize as selecting
from bevel.backends.select.objective import BALANCED, FLASH, LATENCY, OBJECTIVES, Objective
from bevel.backends.select.rules import rules_in
from bevel.backends.select.specialize import PLAIN, Offer, Offers, Specializer, choose, rules_for, specialized
from bevel.backends.target import load
from bevel.calib.arithmetic.requantize import Output
from bevel.tools.run.options import Options
from kernel_cases import ALL
from kernel_cases import PLAIN as PLAIN_OPERATORS

WINDOW = {"strides": (1, 1), "dilations": (1, 1), "pads": (1, 1, 1, 1), "groups": 1}
SHAPE = {"batch": 1, "height": 8, "width": 8, "channels_in": 8, "channels_out": 8, "kernel": (3, 3)}
CONV = Conv(**SHAPE, **WINDOW, x_zero_point=-128, output=Output())
INT4, INT8 = range(-8, 8), range(-127, 128)


def call_of(op: Op, weights: range = INT8) -> Call:
    rng = np.random.default_rng(0)
    _, *constants = op.example(rng)
    if op.macs:
        constants[0] = rng.choice(weights, constants[0].shape).astype(np.int8)
    return Call("node", op, ("x",), tuple(constants), "y")


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m7", "cortex-m55", "rv32imc", "cortex-a76", "rv64gcv"])
def test_every_rule_of_the_target_answers_and_the_plain_loops_are_beside_them(target: str) -> None:
    found = specialized(call_of(CONV), load(target))
    assert {one.rule for one in found.asked} == {PLAIN, *rules_for(load(target))}
    assert all(one.answer for one in found.asked)


def test_the_one_taken_comes_first_and_the_others_say_why_not() -> None:
    found = specialized(call_of(CONV), load("cortex-m7"))
    assert type(found.kernel).__name__ == "ConvDsp"
    taken, *others = found.asked
    assert (taken.rule, taken.answer) == ("conv_dsp", TAKEN) and all(one.answer != TAKEN for one in others)
    answers = {one.rule: one for one in others}
    assert answers["conv_mve"].answer == "cortex-m7 has no Helium" and not answers["conv_mve"].cost
    assert answers[PLAIN].answer.startswith("applies, with about ")
    assert answers[PLAIN].answer.endswith(" than conv_dsp, the choice for balanced")
    assert "more instructions" in answers[PLAIN].answer


def test_the_flash_of_a_kernel_is_that_of_its_constants() -> None:
    found = specialized(call_of(CONV, INT4), load("cortex-m4"), FLASH)
    assert found.asked[0].cost[Resource.FLASH] >= sum(array.nbytes for array in found.constants)


def test_a_call_that_keeps_its_plain_loops_has_every_rules_reason() -> None:
    call, target = call_of(CONV), load("cortex-m0plus")
    taken, *others = specialized(call, target).asked
    assert (taken.rule, taken.answer) == (PLAIN, TAKEN) and specialized(call, target).kernel == CONV
    assert {one.rule for one in others} == set(rules_for(target))
    assert all(one.answer != TAKEN and one.answer for one in others)


def test_an_operator_without_faster_kernels_asks_too() -> None:
    table = Table(size=4)
    found = specialized(call_of(table), load("cortex-m7"))
    assert found.kernel == table and len(found.asked) == 1 + len(rules_for(load("cortex-m7")))


def test_a_rule_whose_kernel_stores_another_type_is_a_bug() -> None:
    call, target = call_of(CONV), load("cortex-m7")
    wide = Special(replace(CONV, output=Output(0, -(2**15), 2**15 - 1, "int16")), call.constants)
    with pytest.raises(ValueError, match=r"stores \['int16'\] for .*, whose results are \['int8'\]"):
        selecting.special_call(call, call, wide, lambda *_: wide, target)


def test_an_objective_is_what_kernels_are_chosen_for() -> None:
    """On a Cortex-M4 int4 weights of a single row take more instructions than bytes do."""
    call, m4 = call_of(Gemm(1, 256, 64, Output()), INT4), load("cortex-m4")
    chosen = {one: specialized(call, m4, one).asked[0] for one in (LATENCY, BALANCED, FLASH)}
    assert chosen[LATENCY].rule == "gemm_dsp" and chosen[BALANCED].rule == "positional_gemm_dsp"
    work = [chosen[one].cost[Resource.INSTRUCTIONS] for one in (LATENCY, BALANCED, FLASH)]
    flash = [chosen[one].cost[Resource.FLASH] for one in (LATENCY, BALANCED, FLASH)]
    assert work == sorted(work) and flash == sorted(flash, reverse=True) and flash[0] > flash[1]


def test_the_options_default_is_the_balanced_objective() -> None:
    assert OBJECTIVES[Options.objective] is BALANCED


def offer(rule: str, work: int, constants: int, code: int = 0) -> Offer:
    """Of a kernel that no other call has."""
    call = SimpleNamespace(kernel=object())
    return Offer(rule, call, Resources({"instructions": work, "flash": code}), constants)  # type: ignore[arg-type]


costs = st.tuples(st.integers(1, 1000), st.integers(0, 1000))


@st.composite
def several(draw: st.DrawFn) -> list[Offers]:
    """Calls, each with kernels of any costs."""

    each = draw(st.lists(st.lists(costs, min_size=1, max_size=5), min_size=1, max_size=6))
    return [Offers(tuple(offer(f"rule{place}", *one) for place, one in enumerate(some)), ()) for some in each]


def totals(chosen: list[Offer]) -> tuple[float, float]:
    return sum(one.work for one in chosen), sum(one.constants for one in chosen)


@given(several(), st.floats(0, 100))
def test_a_higher_rate_never_takes_more_flash_nor_less_work(offers: list[Offers], rate: float) -> None:
    """The first kernel of each is the plain one, beside which weights of fewer bits save."""
    weights = [(place,) for place in range(len(offers))]
    low, high = (choose(offers, weights, Objective("some", one)) for one in (rate, 2 * rate + 1))

    def saved(some: list[Offer]) -> int:
        plain = [each.kernels[0].constants for each in offers]
        return sum(max(0, most - one.constants) for most, one in zip(plain, some, strict=True))

    assert saved(low) <= saved(high)
    assert sum(one.work for one in low) <= sum(one.work for one in high) + 1e-9


@given(several())
def test_the_ends_of_the_scale_are_the_fastest_and_the_smallest(offers: list[Offers]) -> None:
    weights = [(place,) for place in range(len(offers))]
    fastest, smallest = (choose(offers, weights, one) for one in (LATENCY, FLASH))
    for each, fast, small in zip(offers, fastest, smallest, strict=True):
        assert (fast.work, fast.constants) == min((one.work, one.constants) for one in each.kernels)
        assert (small.constants, small.work) == min((one.constants, one.work) for one in each.kernels)


def test_padding_of_weights_and_more_code_are_not_held_against_a_fast_kernel() -> None:
    plain, fast = offer("plain", 200, 1000, code=100), offer("fast", 100, 1300, code=900)
    assert [one.rule for one in choose([Offers((plain, fast), ())], [(1,)], Objective("some", 100.0))] == ["fast"]
    assert [one.rule for one in choose([Offers((plain, fast), ())], [(1,)], FLASH)] == ["plain"]


def test_code_that_decodes_is_taken_off_what_weights_save() -> None:
    plain, coded = offer("plain", 100, 1000, code=100), offer("coded", 101, 500, code=700)
    assert [one.rule for one in choose([Offers((plain, coded), ())], [(1,)], Objective("some", 100.0))] == ["plain"]
    twice = choose([Offers((plain, coded), ())] * 2, [(1,), (2,)], Objective("some", 100.0))
    assert [one.rule for one in twice] == ["coded", "coded"]


@given(several(), st.randoms(use_true_random=False), st.sampled_from([LATENCY, BALANCED, FLASH]))
def test_the_order_of_rules_decides_nothing_but_between_equals(
    offers: list[Offers], random: object, objective: Objective
) -> None:
    def shuffled(one: Offers) -> Offers:
        plain, *kernels = one.kernels
        random.shuffle(kernels)  # type: ignore[attr-defined]
        return Offers((plain, *kernels), ())

    weights = [(place,) for place in range(len(offers))]
    one, other = choose(offers, weights, objective), choose([shuffled(each) for each in offers], weights, objective)
    assert [pick.cost for pick in one] == [pick.cost for pick in other]


def test_flash_that_calls_share_is_charged_once() -> None:
    """Bands of one image have the weights of one call: a saving counts once for all of them, the time for each."""
    plain, small = offer("plain", 100, 200), offer("small", 150, 100)
    bands = [Offers((plain, small), ())] * 8
    rate = Objective("some", 3.0)
    assert {one.rule for one in choose(bands, [(1,)] * 8, rate)} == {"small"}
    other = Offers((offer("other", 1, 700),), ())
    apart, shared = [(place,) for place in range(8)], [(1,)] * 8
    assert {one.rule for one in choose([*bands, other], [*apart, (8,)], rate)} == {"small", "other"}
    assert {one.rule for one in choose([*bands, other], [*shared, (8,)], rate)} == {"plain", "other"}


def test_code_that_calls_share_is_charged_in_parts() -> None:
    """One call does not pay for the code of a smaller kernel; two of the same kernel do."""
    large, small = offer("large", 1, 100), offer("small", 1, 60, code=50)
    assert [one.rule for one in choose([Offers((large, small), ())], [(1,)], FLASH)] == ["large"]
    twice = [Offers((large, small), ())] * 2
    assert [one.rule for one in choose(twice, [(1,), (2,)], FLASH)] == ["small", "small"]


def test_a_rule_that_is_preferred_is_taken_wherever_it_has_a_kernel() -> None:
    calls = tuple(
        Call(name, op, ("x",), call_of(op).constants, name) for name, op in (("a", CONV), ("b", Table(size=512)))
    )
    buffers = {name: Buffer(name, (8, 8, 8), "int8") for name in ("x", "a", "b")}
    ports = [Port(name, name, (8, 8, 8), "int8") for name in ("x", "a", "b")]
    program = Program("net", (ports[0],), tuple(ports[1:]), buffers, calls)
    special = Specializer(load("cortex-m7"), preferred=PLAIN).program(program)
    assert [call.kernel for call in special.calls] == [call.kernel for call in calls]


def test_a_file_with_a_rule_is_found_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "some_rules"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "parts.py").write_text("NOTHING = None\n")
    (room / "never.py").write_text("def specialize(call, target):\n    return f'never on {target.name}'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = rules_in([import_module("some_rules")])
    monkeypatch.setattr(selecting, "rules_for", lambda target: found)
    asked = specialized(call_of(CONV), load("cortex-m7")).asked
    sys.modules.pop("some_rules")
    assert [(one.rule, one.answer) for one in asked] == [(PLAIN, TAKEN), ("never", "never on cortex-m7")]


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m7", "cortex-m55", "rv32imc"])
def test_every_kernel_and_operator_has_an_estimate(target: str) -> None:
    """Of work, and of code; a kernel whose class declares no rates would raise."""
    for name, index, case in ALL:
        found = backend_of(load(target)).estimate(case, load(target))
        assert set(found) == {Resource.INSTRUCTIONS, Resource.FLASH} and min(found.values()) > 0, (name, index)


def test_on_a_cpu_every_operator_has_an_estimate_of_its_time() -> None:
    for name, index, case in PLAIN_OPERATORS:
        found = backend_of(load("host")).estimate(case, load("host"))
        assert set(found) == {Resource.LATENCY, Resource.FLASH} and min(found.values()) > 0, (name, index)
