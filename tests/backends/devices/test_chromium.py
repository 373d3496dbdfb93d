"""WebAssembly in Chromium: what a page computes, and what it says where it cannot. Skipped without the browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bevel.backends.binary.artifact import Artifact
from bevel.backends.build import build
from bevel.backends.devices import browser
from bevel.backends.devices.base import Vectors
from bevel.backends.devices.browser import BrowserError
from bevel.backends.devices.chromium import Chromium
from bevel.backends.program.ops import conv, gemm
from bevel.backends.program.resources import Resource
from bevel.backends.select.specialize import specialize
from bevel.backends.target import Target, load
from bevel.backends.wasm.simd.dots_wasm import DotsWasm
from kernel_programs import program_of
from machines import runnable


@pytest.fixture(scope="module")
def target() -> Target:
    return runnable("wasm32", Chromium)


@pytest.fixture(scope="module")
def built(target: Target, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Vectors]:
    """A convolution and a product, by their kernels, and plain ones beside them."""
    plain = list(conv.cases())[2], list(gemm.cases())[2]
    program, vectors = program_of([(f"case_{index}", one) for index, one in enumerate(plain)])
    chosen = specialize(program, target)
    assert {type(call.kernel) for call in chosen.calls} == {DotsWasm}
    return build(program, target, tmp_path_factory.mktemp("page"), vectors), vectors


def test_a_page_computes_what_the_references_do(target: Target, built: tuple[Artifact, Vectors]) -> None:
    measured = Chromium(target, seconds=0.01).measure(*built)
    assert (measured.mismatches, measured.first_mismatch, measured.inputs) == (0, None, len(built[1]))
    assert 0 < measured.spent[Resource.LATENCY] < 0.1


def test_a_wrong_element_is_found_and_nothing_is_timed(target: Target, built: tuple[Artifact, Vectors]) -> None:
    artifact, vectors = built
    name = artifact.outputs[0].port.name
    wrong = vectors.expected[name].copy()
    wrong.reshape(-1)[0] ^= 1
    measured = Chromium(target).measure(artifact, Vectors(vectors.inputs, vectors.expected | {name: wrong}))
    assert measured.mismatches == 1 and not measured.spent


def test_a_page_that_fails_says_why(target: Target) -> None:
    script = b"export async function main() { throw new Error('no such thing'); }"
    with pytest.raises(BrowserError, match="no such thing"):
        browser.visited({"fails.mjs": script}, "fails.mjs", 60)


def test_a_page_that_does_not_end_is_closed(target: Target) -> None:
    script = b"export async function main() { await new Promise(() => {}); }"
    with pytest.raises(BrowserError, match="not done after 1 s"):
        browser.visited({"waits.mjs": script}, "waits.mjs", 1)


def test_pages_get_the_fine_clock_and_what_they_post_comes_back(target: Target) -> None:
    script = b"""
export async function main() {
  await fetch("/numbers", { method: "POST", body: new Uint8Array([1, 2, 255]) });
  await fetch("/answer", { method: "POST", body: String(self.crossOriginIsolated) });
}"""
    posted = browser.visited({"posts.mjs": script}, "posts.mjs", 60)
    assert np.frombuffer(posted["numbers"], np.uint8).tolist() == [1, 2, 255]
    assert posted["answer"] == b"true"


def test_a_machine_without_a_browser_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = Chromium(load("wasm32")).missing()
    assert told is not None and "apt install chromium" in told and "\n" not in told
