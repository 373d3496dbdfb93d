"""Objects from the cache are the compiler's, and are made anew for whatever they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bevel.backends.binary import toolchain
from bevel.backends.binary.objects import compiled
from bevel.backends.binary.toolchain import Toolchain
from bevel.backends.build import STACK_FLAGS
from bevel.backends.process import cache
from bevel.backends.target import load

SOURCE = '#include "one.h"\n#include "two.h"\nint sum(void) { return ONE + TWO; }\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """source/ with a source and a header, and a second header beside it."""
    monkeypatch.setattr(cache, "entries", lambda: tmp_path / "cache")
    place = tmp_path / "source"
    place.mkdir()
    (place / "sum.c").write_text(SOURCE)
    (place / "one.h").write_text("#define ONE 1\n")
    (tmp_path / "two.h").write_text("#define TWO 2\n")
    return place


@pytest.fixture
def tools() -> Toolchain:
    return toolchain.for_target(load("host"))


def made(tools: Toolchain, folder: Path, *flags: str) -> dict[str, bytes]:
    """What lies beside the source after it was compiled."""
    name = compiled(tools, "sum.c", folder, ("-I..", *flags), [folder.parent / "two.h"])
    assert name == "sum.o"
    found = {path.name: path.read_bytes() for path in folder.glob("sum.*")}
    for file in found.keys() - {"sum.c"}:
        (folder / file).unlink()
    return found


def test_a_second_build_calls_no_compiler_and_has_the_same_object_and_stack_report(
    folder: Path, tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (STACK_FLAGS[tools.kind],)
    first = made(tools, folder, *flags)
    tools.compile("sum.c", folder, ("-I..", *flags))
    assert (folder / "sum.o").read_bytes() == first["sum.o"]
    monkeypatch.setattr(toolchain, "run", lambda *_: pytest.fail("compiled again"))
    assert made(tools, folder, *flags) == first


@pytest.mark.parametrize("header", ["one.h", "../two.h"], ids=["beside it", "elsewhere"])
def test_an_edited_header_is_compiled_again(folder: Path, tools: Toolchain, header: str) -> None:
    first = made(tools, folder)
    path = folder / header
    path.write_text(path.read_text().replace("1", "3").replace("2", "3"))
    assert made(tools, folder)["sum.o"] != first["sum.o"]


def test_an_edited_source_another_flag_and_another_compiler_are_compiled_again(
    folder: Path, tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    compile = Toolchain.compile
    monkeypatch.setattr(Toolchain, "compile", lambda *given: calls.append(given) or compile(*given))
    for _ in range(2):
        made(tools, folder)
        made(tools, folder, "-DUNUSED=1")
        made(replace(tools, version=f"{tools.version} again"), folder)
    (folder / "sum.c").write_text(SOURCE.replace("ONE + TWO", "ONE - TWO"))
    made(tools, folder)
    assert len(calls) == 4


def test_a_compiler_of_the_same_version_that_somebody_else_built_is_another(
    folder: Path, tools: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tools, folder)
    calls = []
    compile = Toolchain.compile
    monkeypatch.setattr(Toolchain, "compile", lambda *given: calls.append(given) or compile(*given))
    monkeypatch.setattr(Toolchain, "identity", f"{tools.identity} (another distribution)")
    made(tools, folder)
    assert len(calls) == 1


def test_what_does_not_compile_leaves_no_entry(folder: Path, tools: Toolchain) -> None:
    (folder / "sum.c").write_text("int sum(void) { return }\n")
    for _ in range(2):
        with pytest.raises(toolchain.ToolError, match=r"sum\.c"):
            made(tools, folder)
