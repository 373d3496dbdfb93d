"""`bevel bench cpu`: our networks on this machine, outputs compared first, other runtimes as far as they are here."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from hashlib import pbkdf2_hmac
from pathlib import Path
from threading import Event, Thread, Timer
from time import monotonic
from typing import Any

import pytest
from rich.console import Console

from bevel.backends.binary.artifact import Artifact
from bevel.backends.program import teams
from bevel.calib.errors import UserError
from bevel.tools.bench import cpu, peers
from bevel.tools.bench.cells import Cell, Refusal, run_cell
from bevel.tools.bench.cpu import CpuRow, medians, pinned
from bevel.tools.bench.subjects import Subject, subjects
from bevel.tools.command import cli
from bevel.tools.run import manifest
from bevel.tools.run.stages import Stages


def test_rows_are_written_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpu, "ROUNDS", 2)
    monkeypatch.setattr(peers, "CALIBRATED", 4)
    written = tmp_path / "rows.json"
    assert cli.main(["bench", "cpu", "--only", "mlp", "-o", str(written)]) == 0
    told = capsys.readouterr().out
    assert "mlp" in told and "geometric mean" in told
    (row,) = json.loads(written.read_text())
    assert {"onnxruntime-float", "onnxruntime-u8s8", "onnxruntime-s8s8"} <= set(row["peers"])
    assert row["mismatches"] == 0 and row["bevel_us"] > 0 and row["threads"] == 1
    assert row["ratio_best"] == pytest.approx(row["bevel_us"] / min(row["peers"].values()))
    assert row["peers"][row["best_peer"]] == min(row["peers"].values())


@pytest.mark.long
def test_a_network_is_quantized_once_for_all_numbers_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each product is the one that `optimize --threads` makes, byte for byte; parts are cut from the smallest calls."""
    monkeypatch.setattr(teams, "WORTH_S", 0.0)
    monkeypatch.setattr(cpu, "pinned", lambda threads: nullcontext())
    monkeypatch.setattr(cpu, "medians", lambda candidates, _: dict.fromkeys(candidates, 1.0))
    monkeypatch.setattr(peers, "models", lambda *_: {})
    cells: list[str] = []
    rows: list[tuple[int, Artifact]] = []

    def counted(*given: Any) -> Cell | Refusal:
        cells.append(given[0].name)
        return run_cell(*given)

    def noted(subject: Subject, artifact: Artifact, *given: Any) -> CpuRow:
        rows.append((given[-2], artifact))
        return row(subject, artifact, *given)

    row = cpu.row
    monkeypatch.setattr(cpu, "run_cell", counted)
    monkeypatch.setattr(cpu, "row", noted)
    (mlp,) = subjects(None, ("mlp",))
    found = cpu.rows_of(mlp, tmp_path, (1, 2), None, Console())
    assert cells == ["mlp"] and [(one.threads, one.mismatches) for one in found] == [(1, 0), (2, 0)]
    for threads, artifact in rows:
        alone = tmp_path / f"alone_{threads}"
        run_cell(mlp, "host", alone, cpu.Setup(inputs="float", outputs="float", threads=threads), Stages())
        assert artifact.files.items() <= manifest.read(alone).files.items()
        assert ("mlp_threads.c" in artifact.files) == (threads > 1)


def test_a_library_that_is_wrong_ends_in_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "rows_of", lambda subject, *_: [CpuRow(subject.name, 1, 1.0, {}, 3)])
    assert cli.main(["bench", "cpu", "--only", "mlp"]) == cpu.WRONG_OUTPUTS


def test_every_candidate_runs_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "repeats_of", lambda run: 3)
    counts = {"a": 0, "b": 0, "before a": 0}

    def counting(name: str) -> cpu.Run:
        def run() -> None:
            counts[name] += 1

        return run

    found = medians({name: counting(name) for name in ("a", "b")}, {"a": counting("before a")})
    assert set(found) == {"a", "b"} and min(found.values()) > 0
    assert counts["a"] == counts["b"] == cpu.ROUNDS * (cpu.UNTIMED + 3 * cpu.TIMED)
    assert counts["before a"] == cpu.ROUNDS * 3 * cpu.TIMED


def test_a_candidate_begins_when_the_threads_of_another_one_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pools wait busily for what comes next, until they sleep."""
    monkeypatch.setattr(cpu, "TASKS", tmp_path)
    monkeypatch.setattr(cpu, "ROUNDS", 8)
    monkeypatch.setattr(cpu, "repeats_of", lambda run: 1)
    state = tmp_path / "1" / "stat"
    state.parent.mkdir()
    found: list[bool] = []

    def leaves_a_thread() -> None:
        state.write_text("1 (a (pool)) R 1 1")
        Timer(0.02, state.unlink, kwargs={"missing_ok": True}).start()

    medians({"a": leaves_a_thread, "b": lambda: found.append(state.exists())}, {})
    assert found == [False] * (cpu.ROUNDS * (cpu.UNTIMED + cpu.TIMED))


@pytest.mark.skipif(not cpu.TASKS.is_dir(), reason="Linux tells what threads do")
def test_a_thread_that_computes_is_seen_and_one_that_waits_is_not() -> None:
    ended = Event()
    waiting = Thread(target=ended.wait)
    waiting.start()
    try:
        assert in_time(lambda: not cpu.others_run())
        busy = Thread(target=pbkdf2_hmac, args=("sha256", b"", b"", 200_000))
        busy.start()
        assert in_time(cpu.others_run)
        busy.join()
        assert in_time(lambda: not cpu.others_run())
    finally:
        ended.set()
        waiting.join()


def in_time(holds: Callable[[], bool]) -> bool:
    """Whether it does within ten seconds: schedulers take their time."""
    end = monotonic() + 10
    while monotonic() < end:
        if holds():
            return True
    return False


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(UserError, match="1000000 threads need as many cores"), pinned(1_000_000):
        pass
