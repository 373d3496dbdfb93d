"""Boards of TVM's RPC tracker: the real tracker and servers, as processes on loopback; one dies in a run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Measurement, Vectors
from bevel.backends.devices.boards import Boards, LostBoard, OnBoard
from bevel.backends.devices.find import device
from bevel.backends.devices.location import Location
from bevel.backends.devices.rpc import Rpc, Tracked
from bevel.backends.target import load
from bevel.calib.errors import UserError
from bevel.tools.command import devices

if not all(map(find_spec, ("tornado", "cloudpickle"))):
    pytest.skip("tornado and cloudpickle are not here: no tracker of TVM's on loopback", allow_module_level=True)
pytestmark = pytest.mark.long

Clipping = Callable[[str], tuple[Artifact, Vectors]]
START_LIMIT_S = 300  # importing TVM takes that long on a busy machine
SESSION = 3  # the field of a process's, of those behind its name in /proc/PID/stat


def members(session: int) -> list[int]:
    """All processes that one of ours started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[SESSION]) == session:
                found.append(int(path.parent.name))
    return found


def kill(session: int) -> None:
    for process in members(session):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


@contextmanager
def started(module: str, *words: str) -> Iterator[int]:
    """A program of TVM's; its number, and that of its session."""
    command = (sys.executable, "-m", f"tvm.exec.{module}", "--host", "127.0.0.1", *words)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as one:
        try:
            yield one.pid
        finally:
            kill(one.pid)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def ports() -> tuple[str, str, str, str]:
    port = free_port()
    return "--port", f"{port}", "--port-end", f"{port + 1}"


@dataclass(frozen=True)
class Lab:
    port: str

    @contextmanager
    def tracker(self) -> Iterator[int]:
        with started("rpc_tracker", "--port", self.port, "--port-end", f"{int(self.port) + 1}") as session:
            waited(lambda: self.summary() is not None)
            yield session

    @contextmanager
    def board(self, key: str) -> Iterator[int]:
        before = self.count(key)
        with started("rpc_server", *ports(), "--tracker", f"127.0.0.1:{self.port}", "--key", key) as session:
            waited(lambda: self.count(key) > before)
            yield session

    def summary(self) -> list[str] | None:
        """The keys of all boards."""
        from tvm import rpc

        try:
            socket.create_connection(("127.0.0.1", int(self.port)), 1).close()
            known = rpc.connect_tracker("127.0.0.1", int(self.port)).summary()["server_info"]
        except OSError:
            return None
        return [one["key"].removeprefix("server:") for one in known]

    def count(self, key: str) -> int:
        return (self.summary() or []).count(key)

    def address(self, key: str) -> str:
        return f"rpc://127.0.0.1:{self.port}/{key}"


def waited(until: Callable[[], bool]) -> None:
    end = time.monotonic() + START_LIMIT_S
    while not until():
        assert time.monotonic() < end, "a server on loopback did not start"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    found = Lab(f"{free_port()}")
    with found.tracker():
        yield found


@pytest.mark.parametrize("target", ["host", "opencl"])
def test_a_board_computes_and_is_timed_and_nothing_stays_there(
    target: str, lab: Lab, board_measures: Callable[[str, str], Measurement]
) -> None:
    with lab.board("one"):
        measured = board_measures(target, lab.address("one"))
    assert measured.device == lab.address("one") and measured.tool.startswith("Linux ")


def test_another_board_of_the_key_goes_on_where_one_dies_in_the_middle_of_a_run(lab: Lab, clipping: Clipping) -> None:
    artifact, vectors = clipping("host")
    died: list[int] = []

    def dying(board: Boards, artifact: Artifact, vectors: Vectors, place: Location) -> Measurement:
        assert isinstance(place, OnBoard)
        if not died or everywhere:
            died.append(int(place.board.asked(f"cut -d ' ' -f {SESSION + 3} /proc/$$/stat").stdout))
            threading.Timer(0.5, kill, died[-1:]).start()
            place.board.asked("sleep 600", limit_s=600)
        return chosen.measured(board, artifact, vectors, place)

    with lab.board("two") as first, lab.board("two") as second:
        chosen = device(lab.address("two"), load("host"))
        assert isinstance(chosen, Rpc)
        everywhere = False
        begin = time.monotonic()
        assert replace(chosen, measured=dying).measure(artifact, vectors).mismatches == 0
        assert time.monotonic() - begin < 300
        assert died in ([first], [second])
        waited(lambda: lab.count("two") == 1)
        everywhere = True
        with pytest.raises(LostBoard) as lost:
            replace(chosen, measured=dying).measure(artifact, vectors)
    assert sorted(died) == sorted((first, second))
    assert str(lost.value).startswith(f"{lab.address('two')}: ") and "\n" not in str(lost.value)
    assert "the tracker knows no board of the key 'two'" in str(lost.value)


def test_what_does_not_end_in_time_is_killed(lab: Lab) -> None:
    with lab.board("three"), Tracked("127.0.0.1", lab.port, "three", load("host")).opened() as board:
        with pytest.raises(LostBoard, match="did not answer within 1 s"):
            board.asked("echo $$ > asked; sleep 600", limit_s=1)
        done = board.asked("kill -0 $(cat asked) || cat asked; exit 7")
        assert done.returncode == 7 and int(done.stdout) > 1


def test_boards_that_are_not_there_and_what_is_no_address_are_told_in_one_line(lab: Lab) -> None:
    host = load("host")
    with lab.board("four"):
        with pytest.raises(UserError, match="knows no board of the key 'five'; keys that it knows: four"):
            devices.choose(host, lab.address("five"))
        with pytest.raises(UserError, match="aarch64-linux") as refused:
            devices.choose(load("aarch64-linux"), lab.address("four"))
    assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="names no board; rpc://tracker:port/key does"):
        devices.choose(host, "rpc://127.0.0.1/four")
    with pytest.raises(UserError, match=r"it runs on: .*serial:PORT"):
        devices.choose(load("cortex-m4"), lab.address("four"))


def test_a_tracker_that_has_gone_is_told_in_one_line() -> None:
    gone = Lab(f"{free_port()}")
    with gone.tracker(), gone.board("six"):
        assert device(gone.address("six"), load("host")).missing() is None
    with pytest.raises(UserError, match="no tracker answers") as refused:
        devices.choose(load("host"), gone.address("six"))
    assert "\n" not in str(refused.value)
