"""Which names of an input and an output mean one state, by how exporters spell them.

    past_key_values.0.key   present.0.key       optimum
    past_0                  present_0           onnxruntime's transformers
    h, h0, h_0, h_in        hn, h_n, h_out      torch.onnx with torch.nn.LSTM's own names; likewise c, hx, cx
    state                   stateN, state_out, new_state, next_state
    initial_h               Y_h                 ONNX's LSTM
    conv_cache              new_conv_cache, conv_cache_out, updated_conv_cache

A name is words. Without the word that says "before" or "after", what is left must be the same, and must say that it is
a state: `image_in` and `image_out` are none.
"""

from __future__ import annotations

import re

Words = tuple[str, ...]

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
BEFORE = frozenset(
    {"past", "prev", "previous", "old", "last", "in", "input", "init", "initial", "start", "cur", "current"}
)
AFTER = frozenset({"present", "new", "next", "out", "output", "updated", "final", "y"})
AFTER_LAST = "n"  # as the last word: stateN, h_n
FIRST = "0"  # as the last word of what begins: h0
KEEPS = frozenset(
    ["h", "c", "hidden", "cell", "state", "states", "cache", "caches", "memory", "mem", "mems", "history", "kv", "rnn"]
)
TORCH = {"hn": ("h", "n"), "cn": ("c", "n"), "hx": ("h", "in"), "cx": ("c", "in"), "hy": ("h", "y"), "cy": ("c", "y")}
PAST, PRESENT, KEY_VALUES = "past", "present", ("key", "values")


def words(name: str) -> Words:
    """past_key_values.0.key: past, key, values, 0, key."""
    return tuple(part for word in WORD.findall(name) for part in TORCH.get(word.lower(), (word.lower(),)))


def same_state(before: str, after: str) -> bool:
    """Whether an input `before` and an output `after` are one state by their names."""
    given, made = words(before), words(after)
    common = stems_before(given) & stems_after(made)
    if PAST in given and PRESENT in made:
        return bool(common)
    return any(KEEPS.intersection(stem) for stem in common)


def stems_before(given: Words) -> set[Words]:
    """What may be left of an input's words without those that say "before"."""
    left = tuple(word for word in given if word not in BEFORE)
    found = {left}
    if left[-1:] == (FIRST,) and len(left) > 1:
        found.add(left[:-1])
    if PAST in given and left[:2] == KEY_VALUES:
        found.add(left[2:])
    return found


def stems_after(made: Words) -> set[Words]:
    """Of an output's without those that say "after", of which there must be one."""
    left = tuple(word for word in made if word not in AFTER)
    found = {left} if len(left) < len(made) else set()
    if made[-1:] == (AFTER_LAST,):
        found.add(left[:-1])
    if PRESENT in made and left[:2] == KEY_VALUES:
        found.add(left[2:])
    return found
