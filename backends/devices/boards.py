"""Boards that are reached through another machine's shell: what this machine would run is copied there, runs, and is
removed. Where the connection to one is lost, the next one runs it anew.
"""

from __future__ import annotations

import re
import shlex
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import ClassVar, Protocol

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import DeviceKind, Measurement, Vectors
from bevel.backends.devices.location import Completed, Execution, Location
from bevel.backends.target import Target
from bevel.calib.errors import UserError

ASK_LIMIT_S, COPY_LIMIT_S = 60, 600
OF_SIGNALS = 128  # what a shell adds to a signal's number
SOURCES = (".c", ".h", ".o", ".a")  # which no board needs

Measured = Callable[["Boards", Artifact, Vectors, Location], Measurement]


class LostBoard(UserError):
    """No connection, or no more."""


class NoBoard(LostBoard):
    """What knows the boards has none, or does not answer: there is no next one."""


class Connection(Protocol):
    def asked(
        self, command: str, limit_s: float = ASK_LIMIT_S, given: Path | None = None, taken: Path | None = None
    ) -> Completed:
        """What a shell there does, which reads the file `given` and writes the file `taken`. Raises LostBoard."""
        ...


class Reachable(Protocol):
    def opened(self) -> AbstractContextManager[Connection]:
        """Raises LostBoard."""
        ...


@dataclass(frozen=True)
class OnBoard:
    """A folder of a board's."""

    board: Connection
    home: str

    def run(self, folder: Path, wanted: Execution) -> Completed:
        sent = [one for one in sorted(folder.iterdir()) if one.suffix not in SOURCES and one.name not in wanted.results]
        with NamedTemporaryFile(prefix="bevel-", suffix=".tar") as packed:
            with tarfile.open(packed.name, "w") as archive:
                for one in sent:
                    archive.add(one, one.name)
            self.moved(f"tar xf - -C {self.home}", given=Path(packed.name))
        given = "".join(f"{name}={shlex.quote(value)} " for name, value in wanted.environment.items())
        # With a command behind it the shell stays, and says of a signal what no connection has an exit status for.
        done = self.board.asked(f"cd {self.home} && {given}{shlex.join(wanted.command)}; exit $?", wanted.limit_s)
        if done.returncode == 0:
            for name in wanted.results:
                self.moved(f"cat {self.home}/{name}", taken=folder / name)
        elif done.returncode > OF_SIGNALS:
            done.returncode = OF_SIGNALS - done.returncode
        return done

    def moved(self, command: str, given: Path | None = None, taken: Path | None = None) -> None:
        """A command that has nothing to say. Raises LostBoard where it fails."""
        done = self.board.asked(command, COPY_LIMIT_S, given, taken)
        if done.returncode:
            raise LostBoard(f"{self.board}: {command} failed: {last_line(done.stderr)}")

    def holds(self, folder: Path, name: str) -> bool:
        return bool(self.board.asked(f"ls {self.home}/{name}").stdout.strip())


@dataclass(frozen=True)
class Boards(ABC):
    """`measured`: how its kind of target is measured in some place; `machine`: what the board says that it is, once
    that is known."""

    scheme: ClassVar[str]

    target: Target
    addresses: str
    measured: Measured
    machine: str = ""
    kind: DeviceKind = "board"

    @property
    def name(self) -> str:
        return f"{self.scheme}{self.addresses}"

    @property
    @abstractmethod
    def boards(self) -> Sequence[Reachable]:
        """In the order in which they are tried. Raises UserError for what is no address."""

    def lacks(self) -> str | None:
        """What this machine would need to reach any."""
        return None

    def missing(self) -> str | None:
        if why := self.lacks():
            return why
        reasons = []
        for board in self.boards:
            try:
                with board.opened() as there:
                    machine = there.asked("uname -m").stdout.strip()
            except LostBoard as lost:
                reasons.append(str(lost))
                if isinstance(lost, NoBoard):
                    break
                continue
            if machine == self.target.architecture:
                return None
            reasons.append(f"{board} is {machine or 'no Linux'}; {self.target.name} needs {self.target.triple}")
        return all_of(reasons)

    def tool(self) -> str:
        if self.machine:
            return self.machine
        for board in self.boards:
            with suppress(LostBoard), board.opened() as there:
                return described(there)
        return "no board"

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        """On the first board that stays to the end. Raises LostBoard where none does."""
        reasons = []
        for board in self.boards:
            try:
                with board.opened() as there, on_board(there) as place:
                    return self.measured(replace(self, machine=described(there)), artifact, vectors, place)
            except LostBoard as lost:
                reasons.append(str(lost))
                if isinstance(lost, NoBoard):
                    break
        raise LostBoard(all_of(reasons))


@contextmanager
def on_board(board: Connection) -> Iterator[OnBoard]:
    """A folder that is removed in the end. Raises LostBoard, and UserError where there is no room for it."""
    made = board.asked("mktemp -d /tmp/bevel-XXXXXX")
    home = made.stdout.strip()
    if made.returncode or not re.fullmatch(r"/tmp/bevel-\w+", home):
        raise UserError(f"{board} has no room for a folder: {last_line(made.stderr)}")
    try:
        yield OnBoard(board, home)
    finally:
        with suppress(LostBoard):
            board.asked(f"rm -rf {home}")


def described(board: Connection) -> str:
    return " ".join(board.asked("uname -srm").stdout.split())


def last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "no message")


def all_of(reasons: Sequence[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))
