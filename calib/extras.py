"""Packages that only some commands need, and how they are installed."""

from __future__ import annotations


def to_install(extra: str) -> str:
    """What to type for an extra of pyproject.toml, in a clone of Bevel and elsewhere."""
    return f"`pip install '.[{extra}]'` in a clone, `pip install 'bevel[{extra}]'` elsewhere"
