"""Amounts of what a product takes and spends: sums, limits, and their names in files and for people."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.program.resources import Resource, Resources, from_keyed, told

amounts = st.dictionaries(st.sampled_from(Resource), st.integers(0, 10**9), max_size=5).map(Resources)


def test_a_resource_is_known_by_its_name_and_its_amount_immutable() -> None:
    one = Resources({"flash": 4, Resource.LATENCY: 0.5})
    assert one["flash"] == one[Resource.FLASH] == one.whole(Resource.FLASH) == 4
    assert dict(one) == {"flash": 4, "latency": 0.5} and Resource.RAM not in one
    assert not hasattr(one, "update") and deepcopy(one) is one
    with pytest.raises(KeyError):
        one[Resource.RAM]


def test_what_is_no_resource_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="'flesh' is no resource; known are flash, weights, ram"):
        Resources({"flesh": 4})


def test_keys_of_files_say_the_unit() -> None:
    one = Resources({"flash": 4, "latency": 0.5, "lut": 7})
    found = [("flash_bytes", 4), ("instructions", None), ("latency_s", 0.5), ("lut", 7)]
    assert list(one.keyed(Resource.INSTRUCTIONS).items()) == found


@given(amounts)
def test_keys_are_read_back_among_other_fields(one: Resources) -> None:
    assert from_keyed({**one.keyed(*Resource), "model": "net"}) == one


@given(amounts, amounts)
def test_what_only_one_knows_counts_in_a_sum_and_not_in_a_difference(one: Resources, other: Resources) -> None:
    both = one + other
    assert set(both) == {*one, *other} and both == other + one
    assert set(both - other) == set(other) and all((both - other)[name] == one.get(name, 0) for name in other)


@given(amounts, amounts)
def test_limits_break_where_more_is_known_to_be_taken(taken: Resources, limits: Resources) -> None:
    over = {name for name in taken if name in limits and taken[name] > limits[name]}
    assert set(taken.beyond(limits)) == over and taken.within(limits) == (not over)


def test_amounts_are_told_in_their_units() -> None:
    assert told(Resources({"flash": 1024, "latency": 0.002})) == "1,024 bytes of flash and 2.000 ms"
    assert told(Resources({"instructions": 3_000_000, "lut": 5})) == "3,000,000 instructions and 5 lookup tables"
