"""Recipes: a way to quantize, as a list of passes with their options, in TOML.

    summary = "Eight bits everywhere, ..."
    source = "Krishnamoorthi 2018, ..."     # the paper or the vendor's document, with its section
    gain = "..."                            # what it showed here, and by which command

    [[pass]]
    name = "assign-schemes"
    weights = "int4"                        # the fields of the pass

`<family>/<name>.toml` in this folder ships; a user's file holds the same. Canonicalization comes before every recipe.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bevel.calib.errors import UserError

TEXTS = ("summary", "source", "gain")
KEYS = (*TEXTS, "pass")
SUFFIX = ".toml"
DEFAULT = "int8"


@dataclass(frozen=True)
class WrittenRecipe:
    """A recipe as its file has it. steps: the tables of its passes."""

    name: str
    family: str
    summary: str
    source: str
    gain: str
    steps: tuple[Mapping[str, Any], ...]


@cache
def shipped() -> tuple[WrittenRecipe, ...]:
    """Every recipe of this folder, by family and name."""
    return tuple(found())


def found() -> Iterator[WrittenRecipe]:
    for family in sorted(files(__name__).iterdir(), key=lambda one: one.name):
        if family.is_dir():
            for file in sorted(family.iterdir(), key=lambda one: one.name):
                if file.name.endswith(SUFFIX):
                    text = file.read_text(encoding="utf-8")
                    name = file.name.removesuffix(SUFFIX)
                    yield written(name, family.name, text, f"recipe {family.name}/{file.name}")


def read(name: str) -> WrittenRecipe:
    """The recipe that ships by that name, or a user's file.

    Raises UserError for a name that is none, with those that are, and for a file that is no recipe.
    """
    if not name.endswith(SUFFIX):
        known = {one.name: one for one in shipped()}
        if name not in known:
            raise UserError(f"no recipe {name!r}; known recipes: {', '.join(known)}; a file's name ends in {SUFFIX}")
        return known[name]
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a recipe, a TOML file with [[pass]] tables") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    return written(path.stem, "yours", text, str(path))


def written(name: str, family: str, text: str, where: str) -> WrittenRecipe:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{where} is not TOML: {error}") from error
    if unknown := [key for key in data if key not in KEYS]:
        raise UserError(f"{where} has {', '.join(unknown)}; a recipe has {', '.join(KEYS)}")
    steps = data.get("pass")
    if not isinstance(steps, list) or not steps or not all(map(is_step, steps)):
        raise UserError(f"{where} has no passes; write [[pass]] tables, each with a name")
    summary, source, gain = (data.get(key, "") for key in TEXTS)
    if not all(isinstance(one, str) for one in (summary, source, gain)):
        raise UserError(f"{where}: {', '.join(TEXTS)} are texts")
    return WrittenRecipe(name, family, summary, source, gain, tuple(steps))


def is_step(table: object) -> bool:
    return isinstance(table, dict) and isinstance(table.get("name"), str)
