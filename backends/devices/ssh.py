"""Boards over SSH (--device ssh://user@board:22): what this machine would run is copied there, runs, and is removed.

Addresses separated by commas are boards of one kind: where the connection to one is lost, the next one runs it anew.
OpenSSH's own program does it, with the keys and names of the user's configuration, or of the one that BEVEL_SSH_CONFIG
names; a host whose key is not known is not spoken to.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import SSH, DeviceKind, Measurement, Vectors
from bevel.backends.devices.location import Completed, Execution, Location
from bevel.backends.process import processes
from bevel.backends.target import Target
from bevel.calib.errors import UserError

PATTERN = re.compile(r"(?P<host>[A-Za-z0-9_][^\s:/,]*)(?::(?P<port>\d+))?")
CONFIG = "BEVEL_SSH_CONFIG"
SETTINGS = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10", "ServerAliveInterval=5")
ASK_LIMIT_S, COPY_LIMIT_S = 60, 600
NO_CONNECTION = 255  # ssh's exit status where it has none; what ran there has another
OF_SIGNALS = 128  # what a shell adds to a signal's number
SOURCES = (".c", ".h", ".o", ".a")  # which no board needs

Measured = Callable[["Ssh", Artifact, Vectors, Location], Measurement]


class LostBoard(UserError):
    """No connection, or no more."""


@dataclass(frozen=True)
class Address:
    host: str
    port: str | None

    def __str__(self) -> str:
        return f"{SSH}{self.host}{f':{self.port}' if self.port else ''}"

    def asked(
        self, command: str, limit_s: float = ASK_LIMIT_S, given: Path | None = None, taken: Path | None = None
    ) -> Completed:
        """What a shell there does, which reads the file `given` and writes the file `taken`. Raises LostBoard."""
        port = ("-p", self.port) if self.port else ()
        words = shlex.join(("ssh", *configuration(), *port, self.host, command))
        moved = "".join(f" {sign} {shlex.quote(str(file))}" for sign, file in (("<", given), (">", taken)) if file)
        try:
            done = processes.run(("sh", "-c", f"exec {words}{moved}"), timeout=limit_s)
        except subprocess.TimeoutExpired as late:
            raise LostBoard(f"{self} did not answer within {limit_s:.0f} s") from late
        if done.returncode == NO_CONNECTION:
            raise LostBoard(f"{self}: {last_line(done.stderr)}")
        return done

    def moved(self, command: str, given: Path | None = None, taken: Path | None = None) -> None:
        """The same of a command that has nothing to say. Raises LostBoard where it fails."""
        done = self.asked(command, COPY_LIMIT_S, given, taken)
        if done.returncode:
            raise LostBoard(f"{self}: {command} failed: {last_line(done.stderr)}")


@dataclass(frozen=True)
class OnBoard:
    """A folder of the board's."""

    board: Address
    home: str

    def run(self, folder: Path, wanted: Execution) -> Completed:
        sent = [one for one in sorted(folder.iterdir()) if one.suffix not in SOURCES and one.name not in wanted.results]
        with NamedTemporaryFile(prefix="bevel-", suffix=".tar") as packed:
            with tarfile.open(packed.name, "w") as archive:
                for one in sent:
                    archive.add(one, one.name)
            self.board.moved(f"tar xf - -C {self.home}", given=Path(packed.name))
        given = "".join(f"{name}={shlex.quote(value)} " for name, value in wanted.environment.items())
        # With a command behind it the shell stays, and says of a signal what ssh has no exit status for.
        done = self.board.asked(f"cd {self.home} && {given}{shlex.join(wanted.command)}; exit $?", wanted.limit_s)
        if done.returncode == 0:
            for name in wanted.results:
                self.board.moved(f"cat {self.home}/{name}", taken=folder / name)
        elif done.returncode > OF_SIGNALS:
            done.returncode = OF_SIGNALS - done.returncode
        return done

    def holds(self, folder: Path, name: str) -> bool:
        return bool(self.board.asked(f"ls {self.home}/{name}").stdout.strip())


@dataclass(frozen=True)
class Ssh:
    """`measured`: how its kind of target is measured in some place."""

    target: Target
    addresses: str
    measured: Measured
    kind: DeviceKind = "board"

    @property
    def name(self) -> str:
        return f"{SSH}{self.addresses}"

    @property
    def boards(self) -> list[Address]:
        """Raises UserError for what is no address."""
        found = [PATTERN.fullmatch(one.removeprefix(SSH)) for one in self.addresses.split(",")]
        if None in found:
            raise UserError(f"{self.name} names no host; {SSH}user@host:port does, or several of them after commas")
        return [Address(one["host"], one["port"]) for one in found if one is not None]

    def missing(self) -> str | None:
        if shutil.which("ssh") is None:
            return "ssh is not installed (Debian: openssh-client); it reaches boards"
        reasons = []
        for board in self.boards:
            try:
                machine = board.asked("uname -m").stdout.strip()
            except LostBoard as lost:
                reasons.append(str(lost))
                continue
            if machine == self.target.architecture:
                return None
            reasons.append(f"{board} is {machine or 'no Linux'}; {self.target.name} needs {self.target.triple}")
        return "; ".join(reasons)

    def tool(self) -> str:
        for board in self.boards:
            with suppress(LostBoard):
                return " ".join(board.asked("uname -srm").stdout.split())
        return "no board"

    def measure(self, artifact: Artifact, vectors: Vectors) -> Measurement:
        """On the first board that stays to the end. Raises LostBoard where none does."""
        reasons = []
        for board in self.boards:
            try:
                with on_board(board) as place:
                    return self.measured(self, artifact, vectors, place)
            except LostBoard as lost:
                reasons.append(str(lost))
        raise LostBoard("; ".join(reasons))


@contextmanager
def on_board(board: Address) -> Iterator[OnBoard]:
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


def configuration() -> tuple[str, ...]:
    chosen = os.environ.get(CONFIG)
    return (*(("-F", chosen) if chosen else ()), *(word for setting in SETTINGS for word in ("-o", setting)))


def last_line(text: str) -> str:
    return next(reversed(text.strip().splitlines()), "no message")
