"""Boards over SSH: a server on loopback stands for the board; what a product computes there is compared and timed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from bevel.backends.binary.artifact import Artifact
from bevel.backends.devices.base import Measurement, Vectors
from bevel.backends.devices.boards import LostBoard, on_board
from bevel.backends.devices.find import device
from bevel.backends.devices.location import Execution
from bevel.backends.devices.ssh import CONFIG, Address
from bevel.backends.target import load
from bevel.calib.errors import UserError
from bevel.tools.command import devices

if find_spec("asyncssh") is None or not all(map(shutil.which, ("ssh", "ssh-keygen"))):
    pytest.skip("asyncssh and OpenSSH's client are not here: no server on loopback", allow_module_level=True)

HERE = Path(__file__).parent

Clipping = Callable[[str], tuple[Artifact, Vectors]]


@dataclass(frozen=True)
class Servers:
    """`folder`: where keys are, and the client's configuration."""

    folder: Path

    def key(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            made = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
            subprocess.run(made, check=True)
        return path

    @contextmanager
    def started(self, known: bool = True, loses: str = "") -> Iterator[str]:
        """The address of a server, whose key the client knows or not."""
        key, authorized = self.key("board"), self.key("user").with_suffix(".pub")
        command = [sys.executable, HERE / "ssh_server.py", key, authorized, *([loses] if loses else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if known:
                with (self.folder / "known").open("a") as file:
                    file.write(f"[127.0.0.1]:{port} {key.with_suffix('.pub').read_text()}")
            try:
                yield f"127.0.0.1:{port}"
            finally:
                process.kill()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Servers:
    found = Servers(tmp_path)
    (tmp_path / "known").touch()
    config = f"IdentityFile {found.key('user')}\nIdentitiesOnly yes\nUserKnownHostsFile {tmp_path}/known\n"
    (tmp_path / "config").write_text(f"{config}GlobalKnownHostsFile none\n")
    monkeypatch.setenv(CONFIG, str(tmp_path / "config"))
    return found


@pytest.mark.parametrize("target", ["host", "opencl"])
def test_a_board_computes_and_is_timed_and_nothing_stays_there(
    target: str, servers: Servers, board_measures: Callable[[str, str], Measurement]
) -> None:
    with servers.started() as address:
        measured = board_measures(target, f"ssh://{address}")
    assert measured.device == f"ssh://{address}" and measured.tool.startswith("Linux ")


def test_another_board_goes_on_where_the_connection_to_one_is_lost(servers: Servers, clipping: Clipping) -> None:
    artifact, vectors = clipping("host")
    with ExitStack() as stack:
        loses, stays = (stack.enter_context(servers.started(loses=word)) for word in ("harness", ""))
        assert device(f"ssh://{loses},ssh://{stays}", load("host")).measure(artifact, vectors).mismatches == 0
        with pytest.raises(LostBoard) as lost:
            device(f"ssh://{loses}", load("host")).measure(artifact, vectors)
    assert str(lost.value).startswith(f"ssh://{loses}: ") and "\n" not in str(lost.value)


def test_a_signal_that_ends_a_command_is_no_lost_connection(servers: Servers, tmp_path: Path) -> None:
    with servers.started() as address, on_board(Address(*address.split(":"))) as place:
        (tmp_path / "sent").mkdir()
        done = place.run(tmp_path / "sent", Execution(("sh", "-c", "kill -ILL $$"), (), limit_s=60))
    assert done.returncode == -signal.SIGILL


def test_a_host_whose_key_is_not_known_is_not_spoken_to(servers: Servers) -> None:
    with servers.started(known=False) as address, pytest.raises(UserError, match="Host key verification failed"):
        devices.choose(load("host"), f"ssh://{address}")


def test_a_board_of_another_machine_and_what_is_no_address_are_refused(servers: Servers) -> None:
    with servers.started() as address, pytest.raises(UserError, match="aarch64-linux needs aarch64"):
        devices.choose(load("aarch64-linux"), f"ssh://{address}")
    with pytest.raises(UserError, match="names no host"):
        devices.choose(load("host"), "ssh://-oProxyCommand=sh")
    with pytest.raises(UserError, match=r"it runs on: .*serial:PORT"):
        devices.choose(load("cortex-m4"), "ssh://board")
