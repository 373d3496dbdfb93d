"""A note's text is for people: what programs ask is its kind and its numbers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bevel.passes.base import Note

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("passes", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
ASKING = ("startswith", "endswith", "find", "count", "index", "partition", "rpartition", "split", "removeprefix")


def steered(source: str) -> list[str]:
    """Where the text of a note is compared, searched or taken apart."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                asked = [left, *others]
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in ASKING:
                asked = [value]
            case _:
                continue
        found += [ast.unparse(node) for one in asked if is_text(one)]
    return found


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "text"


@pytest.mark.parametrize("line", ["'stays' in note.text", "note.text == 'x'", "one.text.startswith('x')"])
def test_steering_on_a_text_is_seen(line: str) -> None:
    assert steered(line) == [line]


def test_nothing_steers_on_the_text_of_a_note() -> None:
    found = {str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := steered(path.read_text()))}
    assert not found


def test_numbers_that_json_has_not_are_left_out() -> None:
    note = Note("p", "node", "chosen", "no error at all", {"left_db": float("inf"), "other_db": 20.0})
    assert note.numbers == {"other_db": 20.0}
