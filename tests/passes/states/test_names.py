"""Which names of inputs and outputs say that they are one state, as exporters write them."""

import pytest

from bevel.passes.states.names import same_state

PAIRS = [
    ("h", "hn"),
    ("c", "cn"),
    ("h0", "hn"),
    ("h_0", "h_n"),
    ("h_in", "h_out"),
    ("hx", "hy"),
    ("h_prev", "h_next"),
    ("initial_h", "Y_h"),
    ("hidden", "new_hidden"),
    ("hiddenIn", "hiddenOut"),
    ("lstm_state_in", "lstm_state_out"),
    ("state", "stateN"),
    ("state", "next_state"),
    ("state.3", "new_state.3"),
    ("conv_cache", "conv_cache_out"),
    ("cached_conv.cache", "new_cached_conv.cache"),
    ("past", "present"),
    ("past_3", "present_3"),
    ("past_key_values.0.key", "present.0.key"),
    ("past_key_values.11.decoder.value", "present.11.decoder.value"),
    ("past_key_self_0", "present_key_self_0"),
    ("past_key_values", "present_key_values"),
]
OTHERS = [
    ("image_in", "image_out"),  # no word that says state
    ("input", "output"),
    ("x", "y"),
    ("value", "new_value"),
    ("h", "hidden"),  # nothing says that it is after
    ("state", "states_of_others"),
    ("h0", "h1_out"),
    ("h", "cn"),
    ("past_key_values.0.key", "present.0.value"),
    ("past_key_values.1.key", "present.11.key"),
    ("past_x", "x_out"),
]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_a_pair_is_one_state(before: str, after: str) -> None:
    assert same_state(before, after)


@pytest.mark.parametrize(("before", "after"), OTHERS)
def test_other_names_are_none(before: str, after: str) -> None:
    assert not same_state(before, after)
