"""Runs that threads share equal those of one thread: any number of threads, any order, any pool."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bevel.backends.binary.artifact import Artifact
from bevel.backends.build import BuildOptions, arranged, build
from bevel.backends.devices.base import Vectors
from bevel.backends.program import memory, teams
from bevel.backends.program.op import Op
from bevel.backends.program.ops import mat_mul
from bevel.backends.program.ops.add import Add
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.program.ops.max_pool import MaxPool
from bevel.backends.program.ops.softmax import Softmax, WideSoftmax
from bevel.backends.program.program import Call, Span
from bevel.backends.target import Target, load
from bevel.calib.arithmetic.requantize import Output
from bevel.calib.arithmetic.softmax import FINE
from bevel.calib.errors import UserError
from bevel.tools.bench.rate_calls import Workload, conv, workload

PARTS = 3
BODY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)
FOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, BODY, ctypes.c_void_p)
here = pytest.mark.skipif(platform.system() != "Linux", reason="a library for this machine")


def operators() -> list[Op]:
    """All kinds of cuts: images, rows, outputs of a row, matrices; the last two are too small to be cut."""
    shape = (1, 9, 5, 12)
    return [
        conv(9, (5, 24), 3), conv(9, (16, 16), 3, 2), conv(10, (16, 16), 3, groups=16), conv(7, (8, 20), 1),
        Add(shape, shape, shape, 1 << 14, 3 << 12, 0, 15, Output(3)),
        MaxPool(1, 12, 12, 8, (2, 2), (2, 2), (1, 1), (0, 0, 0, 0)),
        Gemm(1, 40, 70, Output(3)), Gemm(7, 40, 20, Output(3)),
        Softmax(10, 9, Output(-128)), WideSoftmax(8, 9, FINE, 16, Output(-(2**15), -(2**15), 2**15 - 1, "int16")),
        mat_mul.product((4,), 5, 8, 6, 0.002, a_strides=mat_mul.heads(5, 4, 8), y_strides=mat_mul.heads(5, 4, 6)),
        mat_mul.product((4,), 5, 8, 6, 0.002, a_strides=mat_mul.heads(5, 4, 8)),
        MatMulNBits(1, 64, 70, 4, 32, 8, bias=True), MatMulNBits(7, 40, 20, 3, 40, None),
        Gemm(1, 40, 16, Output(3)), conv(1, (8, 8), 1),
    ]  # fmt: skip


def side_by_side() -> Workload:
    calls, given = [], {}
    for index, op in enumerate(operators()):
        arrays = op.example(np.random.default_rng(index))
        count = 2 if isinstance(op, Add | mat_mul.MatMul) else 1
        names = tuple(f"x{index}_{place}" for place in range(count))
        given |= {name: array[np.newaxis] for name, array in zip(names, arrays, strict=False)}
        calls.append(Call(f"call{index}", op, names, tuple(arrays[count:]), f"y{index}"))
    return workload("net", tuple(calls), given)


@pytest.fixture(scope="module")
def shared() -> Workload:
    return side_by_side()


@pytest.fixture(scope="module")
def target() -> Target:
    return load("host").with_threads(PARTS)


def test_every_kind_of_call_is_cut_and_computes_the_same(shared: Workload) -> None:
    program = shared.program
    cut = teams.in_teams(program, PARTS, [1.0] * len(program.calls))
    sizes = [last - first + 1 for first, last in dict.fromkeys(cut.teams)]
    assert sizes == [PARTS] * (len(program.calls) - 2) + [1, 1]
    found = cut.run({name: array[0] for name, array in shared.vectors.inputs.items()})
    for name, array in found.items():
        np.testing.assert_array_equal(array, shared.vectors.expected[name][0])


def test_calls_that_take_no_time_stay_whole(shared: Workload) -> None:
    program = shared.program
    assert teams.in_teams(program, PARTS, [teams.WORTH_S / 2] * len(program.calls)) == program


def test_parts_that_run_at_the_same_time_share_no_bytes_that_any_of_them_writes(
    shared: Workload, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teams, "WORTH_S", 0.0)
    program = arranged(shared.program, target)
    plan = memory.plan(program)

    def ranges(spans: list[Span]) -> list[tuple[int, int]]:
        return [(plan.offsets[one.buffer] + one.first, plan.offsets[one.buffer] + one.end) for one in spans]

    def room_of(call: int) -> list[tuple[int, int]]:
        return list(zip(plan.scratch[call], plan.scratch_sizes[call], strict=True))

    for first, last in dict.fromkeys(program.teams):
        for one in range(first, last + 1):
            call = program.calls[one]
            written = [(at, at + size) for at, size in room_of(one)]
            written += ranges(call.writes())
            for other in range(first, last + 1):
                if other != one:
                    touched = [(at, at + size) for at, size in room_of(other)]
                    touched += [*ranges(program.calls[other].reads()), *ranges(program.calls[other].writes())]
                    assert all(end <= start or stop <= begin for begin, end in written for start, stop in touched)


def test_parts_with_one_number_have_their_scratch_at_one_place(
    shared: Workload, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the core of the thread that computes them holds it."""
    monkeypatch.setattr(teams, "WORTH_S", 0.0)
    program = arranged(shared.program, target)
    plan = memory.plan(program)
    rooms: dict[int, set[int]] = {}
    for first, last in dict.fromkeys(program.teams):
        for number, index in enumerate(range(first, last + 1) if first < last else ()):
            sizes = zip(plan.scratch[index], plan.scratch_sizes[index], strict=True)
            rooms.setdefault(number, set()).update(*(range(at, at + size) for at, size in sizes))
    assert len(rooms) == PARTS
    assert sum(map(len, rooms.values())) == len(set().union(*rooms.values())) > 0


class Library:
    """The shared library of a program, with its inputs filled in before each run."""

    def __init__(self, artifact: Artifact, tests: Vectors) -> None:
        assert artifact.library is not None
        self.artifact, self.tests = artifact, tests
        self.code = ctypes.CDLL(str(artifact.folder / artifact.library))
        memory_ = np.zeros(artifact.plan.arena_bytes + memory.ALIGNMENT, np.uint8)
        first = -memory_.ctypes.data % memory.ALIGNMENT
        self.arena = memory_[first : first + artifact.plan.arena_bytes]
        self.base = ctypes.c_void_p(self.arena.ctypes.data)
        self.code.net_threads_start.restype = ctypes.c_void_p

    def check(self, run: Callable[[], Any]) -> None:
        self.arena[...] = 0x5A
        for slot in self.artifact.inputs:
            content = np.ascontiguousarray(self.tests.inputs[slot.port.name][0]).reshape(-1).view(np.uint8)
            self.arena[slot.offset : slot.offset + content.size] = content
        run()
        for slot in self.artifact.outputs:
            expected = np.ascontiguousarray(self.tests.expected[slot.port.name][0]).reshape(-1).view(np.uint8)
            np.testing.assert_array_equal(self.arena[slot.offset : slot.offset + expected.size], expected)


@pytest.fixture(scope="module")
def library(shared: Workload, target: Target, tmp_path_factory: pytest.TempPathFactory) -> Library:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teams, "WORTH_S", 0.0)
        folder = tmp_path_factory.mktemp("threads")
        artifact = build(shared.program, target, folder, shared.vectors, BuildOptions(selections={}))
    assert len(artifact.calls) == PARTS * (len(shared.program.calls) - 2) + 2
    return Library(artifact, shared.vectors)


@here
def test_one_thread_runs_all_parts(library: Library) -> None:
    library.check(lambda: library.code.net_run(library.base))


@here
@pytest.mark.parametrize("count", [0, 1, 2, PARTS, 7])
def test_a_pool_of_any_size_computes_the_same(library: Library, count: int) -> None:
    pool = ctypes.c_void_p(library.code.net_threads_start(count))
    for _ in range(100):
        library.check(lambda: library.code.net_run_on(library.base, library.code.net_threads_run, pool))
    library.code.net_threads_stop(pool)


@here
def test_threads_that_fell_asleep_wake_up(library: Library) -> None:
    pool = ctypes.c_void_p(library.code.net_threads_start(PARTS))
    for _ in range(20):
        threading.Event().wait(0.01)
        library.check(lambda: library.code.net_run_on(library.base, library.code.net_threads_run, pool))
    library.code.net_threads_stop(pool)


def sleeping(known: set[int]) -> list[int]:
    """The threads of this process that are not known, once all of them sleep."""
    while True:
        found = [int(task.name) for task in Path("/proc/self/task").iterdir() if int(task.name) not in known]
        stats = (Path(f"/proc/self/task/{one}/stat").read_text() for one in found)
        if all(text.rpartition(")")[2].split()[0] == "S" for text in stats):
            return found
        time.sleep(0.001)


@here
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_a_thread_is_woken_on_another_core_than_the_callers_which_its_user_may_change(library: Library) -> None:
    """Linux would put it behind the caller, where it waits while the other core has nothing to do."""
    cores = os.sched_getaffinity(0)
    known = {int(task.name) for task in Path("/proc/self/task").iterdir()}
    pool = ctypes.c_void_p(library.code.net_threads_start(2))
    try:
        for own in sorted(cores)[:2]:
            (thread,) = sleeping(known)
            os.sched_setaffinity(0, {own})
            library.code.net_run_on(library.base, library.code.net_threads_run, pool)
            assert os.sched_getaffinity(thread) == cores - {own}
        (thread,) = sleeping(known)
        os.sched_setaffinity(thread, {own})
        library.code.net_run_on(library.base, library.code.net_threads_run, pool)
        sleeping(known)
        library.code.net_run_on(library.base, library.code.net_threads_run, pool)
        assert os.sched_getaffinity(thread) == {own}
    finally:
        os.sched_setaffinity(0, cores)
        library.code.net_threads_stop(pool)


@here
def test_the_application_may_run_the_parts_itself(library: Library) -> None:
    """Backwards, and in threads of Python's."""

    def backwards(threads: int, count: int, body: Any, context: int) -> None:
        assert 2 <= count <= PARTS
        for index in reversed(range(count)):
            body(context, index)

    def at_once(threads: int, count: int, body: Any, context: int) -> None:
        several = [threading.Thread(target=body, args=(context, index)) for index in range(count)]
        for one in several:
            one.start()
        for one in several:
            one.join()

    for own in (FOR(backwards), FOR(at_once)):
        library.check(lambda own=own: library.code.net_run_on(library.base, own, None))


def test_a_core_without_an_operating_system_runs_one_thread() -> None:
    assert load("cortex-m4").with_threads(1).threads == 1
    with pytest.raises(UserError, match="2 threads: cortex-m4 has no operating system, and runs one"):
        load("cortex-m4").with_threads(2)


def test_a_program_without_teams_has_no_pool(tmp_path: Path) -> None:
    alone = workload("net", (side_by_side().program.calls[-1],), {"x15_0": np.zeros((1, 1, 1, 8), np.int8)})
    artifact = build(alone.program, load("host").with_threads(2), tmp_path, alone.vectors)
    assert "net_threads.c" not in artifact.files
    assert "net_threads" not in (tmp_path / artifact.header).read_text()
