"""WebAssembly modules, linked without a C library where that will do.

zig makes the run-time libraries of a target the first time that it links for it. Its own, which copies memory and has
the commonest functions of floats, takes five seconds; WASI's C library takes forty. Integers need the first alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bevel.backends.binary.toolchain import Toolchain, ToolError

WASI = ("-target", "wasm32-wasi", "-mexec-model=reactor")
NEEDS_MORE = "undefined symbol"


def link_module(toolchain: Toolchain, objects: Sequence[str], name: str, folder: Path, flags: Sequence[str]) -> Path:
    """A module that is called again and again, without a main; with WASI's C library where objects call it.

    Raises ToolError.
    """
    flags = ("-Wl,--no-entry", *flags)
    try:
        return toolchain.link(objects, name, folder, flags)
    except ToolError as error:
        if NEEDS_MORE not in str(error):
            raise
    return toolchain.link(objects, name, folder, (*WASI, *flags))
