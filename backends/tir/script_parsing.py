"""Parse TVMScript without reading the source file of every frame of the call stack, nor that of a function again.

For each `@T.prim_func`, and at every call of a macro in it, TVM 0.27 asks `inspect` for all frames of the stack with
their lines of source (tvm/tirx/script/parser/entry.py, tvm/script/parser/core/parser.py). Frames of evaluated code have
no file, so that each makes `inspect.getmodule` look through all modules of the process: nine tenths of the time that a
kernel takes to build. TVM looks at the frames' variables only; the line matters where a function stands inside a class
of TVMScript, as none of ours does. Here both modules get the frames alone.

A function that stands inside another is read, and made a tree, each time the outer one runs, and a macro at each of its
calls, too (`Source` in tvm/script/parser/core/diagnostics.py): the same text makes the same tree, which the parser only
reads. Here it is made once.
"""

from __future__ import annotations

import inspect
from functools import cache
from types import CodeType, FrameType, ModuleType
from typing import Any

from tvm.ir import SourceName, Span
from tvm.script.parser.core import diagnostics, doc, parser
from tvm.script.parser.core import entry as parsing
from tvm.tirx.script.parser import entry

from bevel.backends.tir import script_evaluation


class FramesOnly(ModuleType):
    """The module `inspect`, whose stacks hold no lines of source."""

    def __getattr__(self, name: str) -> object:
        return getattr(inspect, name)

    def stack(self, context: int = 1) -> list[inspect.FrameInfo]:
        """`inspect.stack` of the caller."""
        here = inspect.currentframe()
        return outer_frames(here.f_back if here is not None else None)

    def getouterframes(self, frame: FrameType | None, context: int = 1) -> list[inspect.FrameInfo]:
        return outer_frames(frame)


def outer_frames(frame: FrameType | None) -> list[inspect.FrameInfo]:
    """`frame` and those that called it, innermost first."""
    found = []
    while frame is not None:
        code = frame.f_code
        found.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return found


class RememberedSource(diagnostics.Source):  # type: ignore[misc]
    """A function's source, read and parsed once."""

    def __init__(self, program: Any) -> None:
        code = getattr(program, "__code__", None)
        known = _read.get(id(code))
        if known is not None:
            self.__dict__.update(known[1])
            return
        super().__init__(program)
        if code is not None:
            _read[id(code)] = (code, dict(self.__dict__))

    def as_ast(self) -> Any:
        return tree(self.source)

    def to_span(self, node: Any) -> Any:
        return span(self.source_name or "<unknown>", *self.location(node))


_read: dict[int, tuple[CodeType, dict[str, Any]]] = {}  # by the id of the code


@cache
def tree(text: str) -> Any:
    return doc.parse(text)


@cache
def span(file: str, line: int, column: int, last_line: int, last_column: int) -> Any:
    return Span(SourceName(file), line, last_line, column, last_column)


def install() -> None:
    """From now on TVM's parser of TVMScript sees stacks without source lines and known sources, and evaluates what
    needs no compiling by itself, in the whole process."""
    frames_only = FramesOnly("inspect")
    entry.inspect = frames_only
    parser.inspect = frames_only
    parsing.Source = RememberedSource
    script_evaluation.install()
