"""The parts of TVM that kernels are written in, loaded when the first of them is built.

Importing TVM takes longer than a build whose kernels all come from the cache: that needs to know of a kernel what it is
(its fields, its costs), and not its loops. Kernels import these from here, under TVM's own names.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Part:
    """A module of TVM's by its attributes."""

    def __init__(self, name: str) -> None:
        self._module = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(loaded(self._module), attribute)
        setattr(self, attribute, found)  # the next time it is at hand
        return found


def loaded(name: str) -> Any:
    """The module of TVM's, which parses what it is given without reading its sources again."""
    from bevel.backends.tir import script_parsing

    script_parsing.install()
    return import_module(name)


T: Any = Part("tvm.script.tirx")
ir_builder: Any = Part("tvm.script.ir_builder")
ir: Any = Part("tvm.ir")
statements: Any = Part("tvm.script.ir_builder.tirx")
te: Any = Part("tvm.te")
tirx: Any = Part("tvm.tirx")
