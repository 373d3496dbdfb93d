"""Which loops become threads: each nest with its launches, and the nests that must stay in order."""

from __future__ import annotations

from typing import Any

from bevel.backends.gpu.accesses import accesses
from bevel.backends.gpu.launches import Launch, Repeat, every, launches_of, turns
from bevel.backends.tir.lazy import T

OWN = "local"


def body(function: Any) -> Any:
    return function.body


def shapes(found: tuple[Any, ...]) -> list[tuple[int, int]]:
    return [(one.groups, one.threads) for one in every(found)]


def reasons(found: tuple[Any, ...]) -> list[str]:
    return [one.serial for one in every(found)]


def test_every_iteration_that_writes_an_element_of_its_own_is_a_thread() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((10, 20), "int8"), Y: T.Buffer((20, 10), "int8")):
        for i, j in T.grid(10, 20):
            Y[j, i] = X[i, j]

    found = launches_of(body(f))
    assert shapes(found) == [(4, 64)] and reasons(found) == [""]


def test_work_groups_are_no_larger_than_the_target_says() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((48,), "int8"), Y: T.Buffer((48,), "int8")):
        for i in range(48):
            Y[i] = X[i]

    assert shapes(launches_of(body(f), group=16)) == [(3, 16)]


def test_inner_loops_that_write_one_window_stay_in_the_thread() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((6, 8), "int8"), Y: T.Buffer((6, 8), "int8")):
        for i in range(6):
            for j in range(8):
                Y[i, j] = X[i, j]
            for j in range(7):
                Y[i, j + 1] = Y[i, j]

    assert shapes(launches_of(body(f))) == [(1, 6)]


def test_windows_that_overlap_follow_each_other() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int8"), Y: T.Buffer((10,), "int8")):
        for i in range(8):
            for j in range(3):
                Y[i + j] = X[i]

    (found,) = launches_of(body(f))
    assert isinstance(found, Repeat) and found.extent == 8 and shapes((found,)) == [(1, 3)]


def test_elements_that_iterations_share_are_written_by_one_thread() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int8"), Y: T.Buffer((4,), "int8")):
        for i in range(8):
            Y[i // 2] = X[i]

    found = launches_of(body(f))
    assert shapes(found) == [(1, 1)] and "places of their own in Y" in reasons(found)[0]


def test_parts_of_a_row_that_end_with_it_are_apart_on_its_axis() -> None:
    """In elements a part reaches further than the row is long."""

    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((5, 70), "int8"), Y: T.Buffer((5, 70), "int8")):
        for row, part in T.grid(5, 3):
            for i in range(T.min(32, 70 - part * 32)):
                Y[row, part * 32 + i] = X[row, part * 32 + i]

    assert shapes(launches_of(body(f))) == [(1, 15)]


def test_what_reads_a_neighbour_that_another_iteration_writes_runs_in_order() -> None:
    @T.prim_func(s_tir=True)
    def f(Y: T.Buffer((9,), "int8")):
        for i in range(8):
            Y[i + 1] = Y[i]

    assert reasons(launches_of(body(f)))[0] != ""


def test_a_sum_that_goes_on_from_one_iteration_to_the_next_is_no_threads_own() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int32"), Y: T.Buffer((8,), "int32")):
        A = T.alloc_buffer((1,), "int32", scope=OWN)
        A[0] = 0
        for i in range(8):
            A[0] = A[0] + X[i]
            Y[i] = A[0]

    assert shapes(launches_of(body(f))) == [(1, 1)]


def test_a_sum_that_begins_anew_in_each_iteration_is() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8, 3), "int32"), Y: T.Buffer((8,), "int32")):
        A = T.alloc_buffer((1,), "int32", scope=OWN)
        for i in range(8):
            A[0] = 0
            for j in range(3):
                A[0] = A[0] + X[i, j]
            Y[i] = A[0]

    assert shapes(launches_of(body(f))) == [(1, 8)]


def test_a_value_that_is_only_perhaps_written_is_not_known() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int32"), Y: T.Buffer((8,), "int32")):
        A = T.alloc_buffer((1,), "int32", scope=OWN)
        A[0] = 5
        for i in range(8):
            if X[i] > 0:
                A[0] = X[i]
            Y[i] = A[0]

    assert shapes(launches_of(body(f))) == [(1, 1)]


def test_an_array_is_known_only_where_all_that_is_read_was_written() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8, 4), "int32"), Y: T.Buffer((8,), "int32")):
        A = T.alloc_buffer((4,), "int32", scope=OWN)
        for j in range(4):
            A[j] = 0
        for i in range(8):
            for j in range(3):
                A[j] = X[i, j]
            Y[i] = A[0] + A[3] + A[2]
            A[3] = X[i, 3]

    assert shapes(launches_of(body(f))) == [(1, 1)]


def test_what_comes_before_a_nest_is_repeated_by_its_threads() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int32"), Y: T.Buffer((8,), "int32")):
        A = T.alloc_buffer((1,), "int32", scope=OWN)
        A[0] = 0
        for i in range(8):
            A[0] = A[0] + X[i]
        for i in range(8):
            Y[i] = X[i] * A[0]

    (found,) = launches_of(body(f))
    assert isinstance(found, Launch) and found.threads == 8
    sums = [one for one in accesses(found.body) if one.stores and one.local]
    assert [len(one.loops) for one in sums] == [2, 3]  # group and thread; those and the loop of the sum


def test_nests_follow_each_other_as_launches() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int32"), S: T.Buffer((8,), "int32"), Y: T.Buffer((8,), "int32")):
        for i in range(8):
            S[i] = X[i]
        for i in range(8):
            Y[i] = S[7 - i]

    assert shapes(launches_of(body(f))) == [(1, 8), (1, 8)]


def test_passes_over_shared_scratch_are_repeated_by_the_host() -> None:
    @T.prim_func(s_tir=True)
    def f(W: T.Buffer((3, 8), "int8"), Y: T.Buffer((3, 5), "int8"), P: T.Buffer((8,), "int8")):
        for step in range(3):
            for i in range(8):
                P[i] = W[step, i]
            for i in range(5):
                Y[step, i] = P[i + 3]

    (found,) = launches_of(body(f))
    assert isinstance(found, Repeat) and found.extent == 3
    assert shapes((found,)) == [(1, 8), (1, 5)] and turns((found,)) == 6


def test_what_is_read_before_a_launch_changes_it_is_not_repeated_behind_it() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int32"), Y: T.Buffer((8,), "int32")):
        A = T.alloc_buffer((1,), "int32", scope=OWN)
        A[0] = X[0]
        for i in range(8):
            X[i] = X[i] + 1
        for i in range(8):
            Y[i] = A[0]

    found = launches_of(body(f))
    assert shapes(found) == [(1, 1)] and "X changes" in reasons(found)[0]


def test_single_elements_are_one_launch() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((2,), "int32"), Y: T.Buffer((2,), "int32")):
        Y[0] = X[1]
        Y[1] = X[0]

    found = launches_of(body(f))
    assert shapes(found) == [(1, 1)] and reasons(found) == [""]


def test_single_elements_that_repeat_statements_are_launches_of_their_own() -> None:
    """The first three share a buffer of the thread's own; the last one goes through the loop once more."""

    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((8,), "int32"), Y: T.Buffer((2,), "int32")):
        A = T.alloc_buffer((1,), "int32", scope=OWN)
        Y[0] = X[1]
        Y[1] = X[0]
        A[0] = 0
        for i in range(8):
            A[0] = A[0] + X[i]
        Y[0] = A[0]
        Y[1] = A[0]

    found = launches_of(body(f))
    assert shapes(found) == [(1, 1)] * 2 and reasons(found) == [""] * 2


def test_loops_without_turns_launch_nothing() -> None:
    @T.prim_func(s_tir=True)
    def f(X: T.Buffer((2,), "int32"), Y: T.Buffer((2,), "int32")):
        for i in range(0):
            Y[i] = X[i]
        for i in range(2):
            Y[i] = X[i]

    assert shapes(launches_of(body(f))) == [(1, 2)]
