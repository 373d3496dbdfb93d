"""Chromium without a window, as a function: a page of ours from a server on this machine, and what it posts back.

The page gets the headers that isolate it from others, with which browsers give it a clock of 5 microseconds
(W3C, High Resolution Time, section 7). Its profile is a new, empty folder each time.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

from bevel.backends.process import processes

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json", "": "text/html"}
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
ANSWER, ERROR = "answer", "error"  # what a page posts to last
PAGE = """<!doctype html>
<script type="module">
try {{
  await (await import("/{script}")).main();
}} catch (error) {{
  await fetch("/error", {{ method: "POST", body: String(error.stack ?? error) }});
}}
</script>
"""
VERSION_LIMIT_S = 60

Content = Path | bytes


class BrowserError(RuntimeError):
    """A page that did not run to its end: our bug."""


def command() -> str | None:
    """The browser of this machine."""
    return next((found for name in COMMANDS if (found := shutil.which(name))), None)


@cache
def version() -> str:
    """Its name and version."""
    browser = command()
    return processes.run((browser, "--version"), timeout=VERSION_LIMIT_S).stdout.strip() if browser else ""


@dataclass
class ServedPage:
    """What the server has, and what was posted to it, by path. ended: whether the page has nothing more to say."""

    files: Mapping[str, Content]
    posted: dict[str, bytes] = field(default_factory=dict)
    ended: Event = field(default_factory=Event)


def visited(files: Mapping[str, Content], script: str, limit_s: float) -> dict[str, bytes]:
    """What the function `main` of an ES module among `files` posts, by path, until it posts to /answer.

    Raises BrowserError where it fails, or takes longer than `limit_s`.
    """
    browser = command()
    if browser is None:
        raise BrowserError(f"no browser: {', '.join(COMMANDS)}")
    site = ServedPage({"": PAGE.format(script=script).encode(), **files})
    with served(site) as port, TemporaryDirectory(prefix="bevel-", ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{port}/"
        line = (browser, *FLAGS, f"--user-data-dir={profile}", address)
        with processes.started(line, errors=subprocess.DEVNULL):
            in_time = site.ended.wait(limit_s)
    if not in_time:
        raise BrowserError(f"{script} was not done after {limit_s:.0f} s")
    if ERROR in site.posted:
        raise BrowserError(f"{script}: {site.posted[ERROR].decode(errors='replace')}")
    return site.posted


@contextmanager
def served(site: ServedPage) -> Iterator[int]:
    """A server of `site`: its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            content = site.files.get(name)
            if content is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = content.read_bytes() if isinstance(content, Path) else content
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES.get(Path(name).suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(body)))
            for header, value in ISOLATED.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            name = self.path.strip("/")
            site.posted[name] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(HTTPStatus.NO_CONTENT)
            self.end_headers()
            if name in (ANSWER, ERROR):
                site.ended.set()

        def log_message(self, *_: object) -> None:
            """Nothing: the terminal is not ours."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
