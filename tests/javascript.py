"""Modules of WebAssembly in Node.js, as a page would use them."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

WASM = pytest.param("wasm32", marks=pytest.mark.skipif(find_spec("wasmtime") is None, reason="no wasmtime"))

BEGIN = """
import {{ readFileSync }} from "node:fs";
import {{ load }} from "{folder}/{model}.mjs";
const bytes = (view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
const model = await load(readFileSync("{folder}/{model}.wasm"));
const given = JSON.parse(readFileSync("{given}", "utf8"));
"""


def answer(folder: Path, model: str, given: Any, body: str, scratch: Path) -> Any:
    """What `body`, JavaScript, gives to `answer`: it has `model`, loaded, `given`, and `bytes` of typed arrays."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed: it would run the ES module")
    (scratch / "given.json").write_text(json.dumps(given))
    begin = BEGIN.format(folder=folder, model=model, given=scratch / "given.json")
    end = "\nfunction answer(value) { console.log(JSON.stringify(value)); }\n"
    (scratch / "body.mjs").write_text(begin + body + end)
    done = subprocess.run(["node", scratch / "body.mjs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
    return json.loads(done.stdout)
