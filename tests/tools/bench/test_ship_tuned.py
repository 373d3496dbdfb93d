"""What tuning found goes into the file that ships, if it changes something."""

from __future__ import annotations

from bevel.backends.select.tune import Selection
from bevel.backends.select.tuned import Found
from bevel.tools.bench.ship_tuned import shipping

FASTER = Found(Selection("a", ("-O2",)), 90, 100, 8)
KEPT = Found(Selection("a"), 100, 100, 8)
OTHER = Found(Selection("b", ("-Os",)), 50, 100, 8)


def test_new_findings_replace_old_ones_of_the_same_core_and_compiler() -> None:
    known = {"cortex-m4": {"gcc 12": {"a": FASTER}}}
    found = {"cortex-m4": {"gcc 12": {"b": OTHER}, "zig 0.17": {"a": FASTER}}}
    assert shipping(known, found) == {"cortex-m4": {"gcc 12": {"a": FASTER, "b": OTHER}, "zig 0.17": {"a": FASTER}}}


def test_what_turned_out_best_as_it_is_leaves_the_file() -> None:
    known, found = ({"cortex-m4": {"gcc 12": {"a": one}}} for one in (FASTER, KEPT))
    assert shipping(known, found) == {}
