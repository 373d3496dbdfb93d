"""Boards of TVM's RPC tracker (--device rpc://tracker:9190/key): any free board of that key, and where the connection
to one is lost, another one.

A tracker gives boards away without a password, and a server runs what it is sent, unencrypted: both belong into a
network that is trusted, as TVM says of them (tvm/rpc/server.py).
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from bevel.backends.binary.objects import compiled
from bevel.backends.binary.toolchain import for_target
from bevel.backends.devices.base import RPC
from bevel.backends.devices.boards import ASK_LIMIT_S, Boards, LostBoard, NoBoard
from bevel.backends.devices.location import Completed
from bevel.backends.process import processes
from bevel.backends.target import Target
from bevel.calib.errors import UserError

PATTERN = re.compile(r"(?P<host>[A-Za-z0-9_][^\s:/]*):(?P<port>\d+)/(?P<key>[^\s/:]+)")
CLIENT, SHELL = "bevel.backends.devices.rpc_client", "rpc_shell.c"
FREE_LIMIT_S = 600  # that a board may be another's
SPARE_S = 60  # for what is sent and fetched, beside what a command may take
LATE = -1000  # as rpc_shell.c has it
TRIES = 8  # boards of a key that may be lost


@dataclass(frozen=True)
class Tracked:
    """Any free board of a key. `target`: that its shell is built for."""

    host: str
    port: str
    key: str
    target: Target

    def __str__(self) -> str:
        return f"{RPC}{self.host}:{self.port}/{self.key}"

    @contextmanager
    def opened(self) -> Iterator[HeldBoard]:
        with TemporaryDirectory(prefix="bevel-") as name:
            command = (
                sys.executable,
                "-m",
                CLIENT,
                self.host,
                self.port,
                self.key,
                str(shell(self.target, Path(name))),
            )
            with processes.started(command, errors=subprocess.DEVNULL, given=subprocess.PIPE) as client:
                held = HeldBoard(str(self), client)
                held.answer(FREE_LIMIT_S)
                yield held


@dataclass(frozen=True)
class HeldBoard:
    """A board that is ours until its client ends."""

    address: str
    client: subprocess.Popen[str]

    def __str__(self) -> str:
        return self.address

    def asked(
        self, command: str, limit_s: float = ASK_LIMIT_S, given: Path | None = None, taken: Path | None = None
    ) -> Completed:
        request = {"command": command, "seconds": limit_s, "given": given and str(given), "taken": taken and str(taken)}
        assert self.client.stdin is not None
        try:
            print(json.dumps(request), file=self.client.stdin, flush=True)
        except OSError as error:
            raise LostBoard(f"{self}: its client has ended") from error
        told = self.answer(limit_s + SPARE_S)
        if told["status"] == LATE:
            raise LostBoard(f"{self} did not answer within {limit_s:.0f} s")
        return subprocess.CompletedProcess(command, told["status"], told["out"], told["err"])

    def answer(self, limit_s: float) -> dict[str, Any]:
        """Raises LostBoard where there is none."""
        assert self.client.stdout is not None
        if not select.select([self.client.stdout], [], [], limit_s)[0]:
            self.client.kill()
            raise LostBoard(f"{self} did not answer within {limit_s:.0f} s")
        line = self.client.stdout.readline()
        if not line:
            raise LostBoard(f"{self}: the connection was lost")
        told: dict[str, Any] = json.loads(line)
        if "none" in told:
            raise NoBoard(f"{self}: {told['none']}")
        if "lost" in told:
            raise LostBoard(f"{self}: {told['lost']}")
        return told


@dataclass(frozen=True)
class Rpc(Boards):
    scheme: ClassVar[str] = RPC

    @property
    def boards(self) -> Sequence[Tracked]:
        found = PATTERN.fullmatch(self.addresses)
        if found is None:
            raise UserError(f"{self.name} names no board; {RPC}tracker:port/key does")
        return [Tracked(found["host"], found["port"], found["key"], self.target)] * TRIES


def shell(target: Target, folder: Path) -> Path:
    """The library that runs commands on a board."""
    toolchain = for_target(target)
    (folder / SHELL).write_bytes(files(__package__).joinpath(SHELL).read_bytes())
    return toolchain.link([compiled(toolchain, SHELL, folder)], "bevel_shell.so", folder, ("-shared", "-ldl"))
