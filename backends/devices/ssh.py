"""Boards over SSH (--device ssh://user@board:22). Addresses separated by commas are boards of one kind.

OpenSSH's own program does it, with the keys and names of the user's configuration, or of the one that BEVEL_SSH_CONFIG
names; a host whose key is not known is not spoken to.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bevel.backends.devices.base import SSH
from bevel.backends.devices.boards import ASK_LIMIT_S, Boards, LostBoard, last_line
from bevel.backends.devices.location import Completed
from bevel.backends.process import processes
from bevel.calib.errors import UserError

PATTERN = re.compile(r"(?P<host>[A-Za-z0-9_][^\s:/,]*)(?::(?P<port>\d+))?")
CONFIG = "BEVEL_SSH_CONFIG"
SETTINGS = ("BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=10", "ServerAliveInterval=5")
NO_CONNECTION = 255  # ssh's exit status where it has none; what ran there has another


@dataclass(frozen=True)
class Address:
    """Each command is a connection of its own."""

    host: str
    port: str | None

    def __str__(self) -> str:
        return f"{SSH}{self.host}{f':{self.port}' if self.port else ''}"

    def opened(self) -> AbstractContextManager[Address]:
        return nullcontext(self)

    def asked(
        self, command: str, limit_s: float = ASK_LIMIT_S, given: Path | None = None, taken: Path | None = None
    ) -> Completed:
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


@dataclass(frozen=True)
class Ssh(Boards):
    scheme: ClassVar[str] = SSH

    @property
    def boards(self) -> Sequence[Address]:
        found = [PATTERN.fullmatch(one.removeprefix(SSH)) for one in self.addresses.split(",")]
        if None in found:
            raise UserError(f"{self.name} names no host; {SSH}user@host:port does, or several of them after commas")
        return [Address(one["host"], one["port"]) for one in found if one is not None]

    def lacks(self) -> str | None:
        return (
            "ssh is not installed (Debian: openssh-client); it reaches boards" if shutil.which("ssh") is None else None
        )


def configuration() -> tuple[str, ...]:
    chosen = os.environ.get(CONFIG)
    return (*(("-F", chosen) if chosen else ()), *(word for setting in SETTINGS for word in ("-o", setting)))
