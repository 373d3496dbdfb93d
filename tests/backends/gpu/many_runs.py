"""Run as a program: a thousand runs of a model, and a few of its init, with a library that counts.

    many_runs.py libone.so libcount.so ARENA_BYTES RECORDED

RECORDED: 1 where launches are recorded before, else 0.
Prints as JSON what the library has counted behind a few runs, behind a thousand more, and behind destroy, the first and
the last; and by how many bytes the thousand runs left this process larger.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

ALIGNMENT = 64
WARM, RUNS, TIMES = 200, 1000, 3
KINDS = ("held", "buffers", "bytes", "launches", "finishes", "blocking", "between", "recorded")


class Count(ctypes.Structure):
    _fields_ = [(kind, ctypes.c_int64) for kind in KINDS]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def main(product: str, counting: str, arena_bytes: str, recorded: str) -> None:
    model, library = ctypes.CDLL(product), ctypes.CDLL(counting)
    model.one_init.restype = model.one_run.restype = model.one_record.restype = ctypes.c_char_p
    room = ctypes.create_string_buffer(int(arena_bytes) + ALIGNMENT)
    arena = ctypes.c_void_p(-(-ctypes.addressof(room) // ALIGNMENT) * ALIGNMENT)

    def counted() -> dict[str, int]:
        now = Count.in_dll(library, "count")
        return {kind: getattr(now, kind) for kind in KINDS}

    def begin() -> None:
        why = model.one_init(arena, None, None)
        assert why is None, why
        why = model.one_record(arena) if int(recorded) else None
        assert why is None, why

    def runs(count: int) -> None:
        for _ in range(count):
            library.count_run()
            assert model.one_run(arena) is None

    begin()
    runs(WARM)
    first, before = counted(), resident()
    runs(RUNS)
    second, after = counted(), resident()
    model.one_destroy(arena)
    gone = counted()
    for _ in range(TIMES):
        begin()
        runs(1)
        model.one_destroy(arena)
    told = {"first": first, "second": second, "gone": gone, "last": counted()}
    print(json.dumps(told | {"grown": after - before}))


if __name__ == "__main__":
    main(*sys.argv[1:])
