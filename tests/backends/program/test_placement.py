"""Offsets: nothing live together overlaps, parts make room one by one, and the exact search tells the optimum."""

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.backends.program.placement import (
    ALIGNMENT,
    Group,
    Lifetime,
    LivePart,
    Placed,
    forbidden,
    live_together,
    place,
    united,
)

# Size in units of the alignment, first and last call. Everywhere four units are live, and no layout of four exists.
TIGHT = [(3, 0, 0), (1, 1, 1), (2, 1, 2), (1, 3, 3), (1, 0, 3), (2, 4, 4), (1, 2, 4), (1, 3, 5), (3, 5, 5)]


def whole(size: int, first: int, last: int) -> Group:
    return (Placed("", size * ALIGNMENT, (LivePart(0, size * ALIGNMENT, Lifetime(first, last)),)),)


def rows(count: int, step: int, lifetimes: list[tuple[int, int]]) -> Group:
    """An image of `count` rows of `step` units each, with a lifetime for every row."""
    size = step * ALIGNMENT
    parts = tuple(LivePart(row * size, (row + 1) * size, Lifetime(*life)) for row, life in enumerate(lifetimes))
    return (Placed("", count * size, parts),)


def load(specs: list[tuple[int, int, int]]) -> int:
    return max(sum(size for size, a, b in specs if a <= time <= b) for _, time, _ in specs) * ALIGNMENT


def test_the_optimum_is_proven_where_no_layout_reaches_the_bound() -> None:
    found = place([whole(*spec) for spec in TIGHT], load(TIGHT))
    assert load(TIGHT) == 4 * ALIGNMENT
    assert found.proven and found.end == 5 * ALIGNMENT


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=6))
def test_the_exact_search_alone_finds_what_trying_every_order_finds(drawn: list[tuple[int, int, int]]) -> None:
    specs = [(size, first, first + length) for size, first, length in drawn]
    found = place([whole(*spec) for spec in specs], 0, rounds=0)
    assert found.proven and found.end == min(end_of_order(order) for order in permutations(specs)) * ALIGNMENT


def end_of_order(order: tuple[tuple[int, int, int], ...]) -> int:
    """Each piece on the highest of those before it that it is live together with."""
    laid: list[tuple[int, tuple[int, int, int]]] = []
    for size, first, last in order:
        below = [offset + other[0] for offset, other in laid if other[1] <= last and first <= other[2]]
        laid.append((max(below, default=0), (size, first, last)))
    return max(offset + spec[0] for offset, spec in laid)


def test_rows_that_are_read_make_room_for_rows_that_are_written() -> None:
    read = rows(4, 2, [(0, time + 1) for time in range(4)])
    written = rows(4, 2, [(time + 1, 5) for time in range(4)])
    found = place([read, written], 0)
    assert found.end == 5 * 2 * ALIGNMENT  # one row more than either image
    assert found.offsets[0] - found.offsets[1] == 2 * ALIGNMENT


def test_an_output_with_longer_rows_starts_lower() -> None:
    read = rows(4, 1, [(0, time + 1) for time in range(4)])
    written = rows(4, 2, [(time + 1, 5) for time in range(4)])
    found = place([read, written], 0)
    assert found.offsets == {0: 5 * ALIGNMENT, 1: 0} and found.end == 9 * ALIGNMENT


def test_distances_are_forbidden_only_where_parts_meet() -> None:
    def ways(group: Group, other: Group) -> list[tuple[int, int]]:
        return united(forbidden(group[0], other[0]))

    other = whole(2, 1, 1)
    assert ways(whole(3, 1, 2), other) == [(-2 * ALIGNMENT, 2 * ALIGNMENT)]
    assert ways(whole(3, 2, 2), other) == []
    split = rows(3, 1, [(1, 1), (2, 2), (1, 1)])
    assert ways(split, whole(1, 1, 1)) == [(-2 * ALIGNMENT, -ALIGNMENT), (0, ALIGNMENT)]


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=3), max_size=5))
def test_the_sweep_through_time_finds_all_pieces_that_live_together(spans: list[list[tuple[int, int]]]) -> None:
    groups = [tuple(piece for first, length in group for piece in whole(1, first, first + length)) for group in spans]
    members = [(index, piece) for index, group in enumerate(groups) for piece in group]
    pairs = [
        (a[0], b[0], a[1].first, a[1].last, b[1].first, b[1].last)
        for a in members
        for b in members
        if a[0] > b[0] and a[1].first <= b[1].last and b[1].first <= a[1].last
    ]
    found = [(i, j, a.first, a.last, b.first, b.last) for (i, a), (j, b) in live_together(groups)]
    assert sorted(found) == sorted(pairs)


@st.composite
def images(draw: st.DrawFn) -> Group:
    count, step = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    lifetimes = [(first := draw(st.integers(0, 6)), first + draw(st.integers(0, 3))) for _ in range(count)]
    return rows(count, step, lifetimes)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(images(), min_size=1, max_size=7))
def test_no_two_parts_that_live_together_overlap(groups: list[Group]) -> None:
    found = place(groups, 0)
    parts = [(index, part) for index, (piece,) in enumerate(groups) for part in piece.parts]
    for number, (index, part) in enumerate(parts):
        first, end = found.offsets[index] + part.first, found.offsets[index] + part.end
        assert first >= 0 and end <= found.end and found.offsets[index] % ALIGNMENT == 0
        for other_index, other in parts[number + 1 :]:
            if part.lifetime.overlaps(other.lifetime):
                other_first, other_end = (found.offsets[other_index] + edge for edge in (other.first, other.end))
                assert end <= other_first or other_end <= first
