"""README.md keeps up: its commands parse, its paths exist, and .ci/run runs what it explains."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import pytest

from bevel.tools.command import cli, optimize
from bevel.tools.report.report import read

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = [line.strip() for line in README.splitlines() if line.startswith("    ")]
COMMANDS = {"optimize": optimize.command, "bevel": cli.group}


def our_commands(lines: list[str]) -> list[list[str]]:
    """The calls of `optimize` and `bevel` among shell lines, as words."""
    parts = [part for line in lines for part in line.removeprefix("$ ").split("&&")]
    words = [shlex.split(part, comments=True) for part in parts if not part.startswith("error:")]
    return [found for found in words if found and Path(found[0]).name in COMMANDS]


@pytest.mark.parametrize("words", our_commands(BLOCKS), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    command = COMMANDS[Path(words[0]).name]
    with command.make_context(words[0], words[1:]) as context:
        if isinstance(command, click.Group):
            name, inner, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert inner is not None
            inner.make_context(name, rest, parent=context).close()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:calib|backends|passes|models|tools|tests|\.ci)/[^`<>]*)`", README)))
)
def test_paths_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_ci_runs_what_the_readme_explains() -> None:
    script = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and line[0] not in "#"]
    explained = " ".join(BLOCKS).replace(".venv/bin/", "")
    own = ("set ", "cd ", "export ", '"${PYTHON', "types=", "trap ", "wait ")
    for line in (line for line in script if not line.startswith(own)):
        assert line.replace(".venv/bin/", "").replace("--quiet ", "") in explained, (
            f"README.md does not explain: {line}"
        )


def test_the_example_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The block that begins with an import of ours, as it stands, beside `models/`."""
    example = re.search(r"^    from bevel import .*?(?=^\S)", README, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(dedent(example[0]), names)
    told = names["report"]
    assert told == read(tmp_path / "out" / "mlp") and told.measurement.mismatches == 0
    figures = told.accuracy.top1_integer, told.size.product["flash"], told.measurement.spent["instructions"]
    assert capsys.readouterr().out.split() == [str(one) for one in figures]


def test_the_two_first_commands_need_no_other() -> None:
    assert BLOCKS[0].startswith("python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/optimize models/")
    assert BLOCKS[1].endswith(".venv/bin/pytest -n 2")
