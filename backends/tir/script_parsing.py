"""Parse TVMScript without reading the source file of every frame of the call stack.

For each `@T.prim_func`, and at every call of a macro in it, TVM 0.27 asks `inspect` for all frames of the stack with
their lines of source (tvm/tirx/script/parser/entry.py, tvm/script/parser/core/parser.py). Frames of evaluated code have
no file, so that each makes `inspect.getmodule` look through all modules of the process: nine tenths of the time that a
kernel takes to build. TVM looks at the frames' variables only; the line matters where a function stands inside a class
of TVMScript, as none of ours does. Here both modules get the frames alone.
"""

from __future__ import annotations

import inspect
from types import FrameType, ModuleType

from tvm.script.parser.core import parser
from tvm.tirx.script.parser import entry


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


def install() -> None:
    """From now on TVM's parser of TVMScript sees stacks without source lines, in the whole process."""
    frames_only = FramesOnly("inspect")
    entry.inspect = frames_only
    parser.inspect = frames_only
