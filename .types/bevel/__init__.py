"""Bevel shapes a float ONNX model for an edge device. README.md describes its commands, `optimize` and `bevel`.

This file and the links beside it make the top-level folders the package `bevel` for type checkers; setup.py maps them
for installations.
"""

from __future__ import annotations

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """`__version__`, looked up when somebody asks: importing a part of Bevel costs nothing more."""
    if name == "__version__":
        from importlib.metadata import version

        return version("bevel")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
