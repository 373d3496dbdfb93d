"""Run as a program: an SSH server on loopback that runs what it is asked to, for one key.

    ssh_server.py HOST_KEY AUTHORIZED_KEYS [LOSES]

Prints its port. Where a command has the word LOSES in it, the connection is lost. The shell is bash where that is here,
which becomes the last command that it is given: boards have it, and a signal then ends what the server started.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from importlib import import_module
from typing import Any

ssh: Any = import_module("asyncssh")


async def answer(process: Any, loses: str | None) -> None:
    if loses and loses in process.command:
        process.get_extra_info("connection").abort()
        return
    pipe = asyncio.subprocess.PIPE
    done = await asyncio.create_subprocess_shell(
        process.command, stdin=pipe, stdout=pipe, stderr=pipe, executable=shutil.which("bash")
    )
    out, err = await done.communicate(await process.stdin.read())
    process.stdout.write(out)
    process.stderr.write(err)
    if done.returncode is not None and done.returncode < 0:
        process.exit_with_signal(signal.Signals(-done.returncode).name.removeprefix("SIG"))
    else:
        process.exit(done.returncode)


async def serve(key: str, authorized: str, loses: str | None) -> None:
    server = await ssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[key],
        authorized_client_keys=authorized,
        process_factory=lambda process: answer(process, loses),
        encoding=None,
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None))
