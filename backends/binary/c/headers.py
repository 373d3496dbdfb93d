"""C that kernels are written in: headers of a machine's room, with what they include put in place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

from bevel.backends.program.kernel import Kernel, header_of
from bevel.backends.program.op import Op

FOLDER = "c"  # of a machine's room
INCLUDED = re.compile(r'^#include "(bevel_\w+\.h)"$', re.MULTILINE)


def header_texts(kernels: Iterable[Op]) -> dict[str, str]:
    """{name: text} of the headers that the code of some kernels includes."""
    wanted = {(header, room_of(one)) for one in kernels if (header := header_of(one)) is not None}
    return {header: header_text(header, room) for header, room in sorted(wanted)}


def room_of(kernel: Op) -> str:
    """The package of the machine that a kernel is for: its file lies one folder below, its headers in `c`."""
    if not isinstance(kernel, Kernel):
        raise ValueError(f"{kernel} is no kernel of a machine")
    return type(kernel).__module__.rsplit(".", 2)[0]


def header_text(header: str, room: str) -> str:
    """The text of a header of `room`, with those of the same folder that it includes put in place."""
    text = files(room).joinpath(FOLDER, header).read_text(encoding="utf-8")
    return INCLUDED.sub(lambda match: header_text(match[1], room), text)
