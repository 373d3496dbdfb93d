"""Run as a program: TVM's RPC client, which holds a board of a tracker's while its caller has commands for it.

    rpc_client HOST PORT KEY LIBRARY < requests > answers

LIBRARY is rpc_shell.c, built for the board. Requests and answers are lines of JSON. The first answer, {}, comes once a
board is free. Then each request {"command", "seconds", "given", "taken"}, the latter two files of this machine's or
null, has an answer {"status", "out", "err"}. Instead of any comes {"none": why}, where the tracker does not answer or
knows no such board, or {"lost": why}; then it ends.

A process of its own, because TVM's client has no limits of time, and nothing else of a measurement needs TVM.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

CONNECT_LIMIT_S = 10
SHELL, FUNCTION = "bevel_shell.so", "bevel_shell"


class Missing(Exception):
    """Of the tracker, or of any board of the key."""


def session(host: str, port: int, key: str) -> Any:
    """With a board that is free. Raises Missing."""
    from tvm import rpc

    try:
        socket.create_connection((host, port), CONNECT_LIMIT_S).close()  # TVM tries again for a minute
        tracker = rpc.connect_tracker(host, port)
        known = [one["key"].partition(":")[2] for one in tracker.summary()["server_info"]]
    except (OSError, RuntimeError) as error:
        raise Missing(f"no tracker answers: {line_of(error)}") from error
    if key not in known:
        others = ", ".join(sorted(set(known))) or "none"
        raise Missing(f"the tracker knows no board of the key '{key}'; keys that it knows: {others}")
    return tracker.request(key, max_retry=2)


def shell_on(board: Any, library: Path) -> Any:
    board.upload(bytearray(library.read_bytes()), SHELL)
    return board.load_module(SHELL).get_function(FUNCTION)


def served(board: Any, shell: Any, request: dict[str, Any]) -> dict[str, Any]:
    given = Path(request["given"]).read_bytes() if request["given"] else b""
    board.upload(bytearray(request["command"].encode()), "command")
    board.upload(bytearray(given), "given")
    status = int(shell(int(request["seconds"])))
    out, said = bytes(board.download("taken")), bytes(board.download("said"))
    if request["taken"]:
        Path(request["taken"]).write_bytes(out)
        out = b""
    return {"status": status, "out": out.decode(errors="replace"), "err": said.decode(errors="replace")}


def line_of(error: BaseException) -> str:
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)


def main(host: str, port: str, key: str, library: str) -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # TVM prints

    def answer(told: dict[str, Any]) -> None:
        print(json.dumps(told), file=answers, flush=True)

    try:
        board = session(host, int(port), key)
        shell = shell_on(board, Path(library))
        answer({})
        for line in sys.stdin:
            answer(served(board, shell, json.loads(line)))
    except Missing as missing:
        answer({"none": str(missing)})
    except Exception as error:
        answer({"lost": line_of(error)})


if __name__ == "__main__":
    main(*sys.argv[1:])
