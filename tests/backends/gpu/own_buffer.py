"""Run as a program: a model whose input lies in a buffer of the caller's, and then in the arena again.

    own_buffer.py libone.so libOpenCL.so.1 ARENA_BYTES INPUT OUTPUT OUTPUT_BYTES RECORDED < input

INPUT and OUTPUT are offsets in the arena; RECORDED: 1 where launches are recorded. Prints what binding at a place that
is no multiple of 64 answers, what the next one does, and the outputs of both runs.
"""

from __future__ import annotations

import ctypes
import sys

from own_queue import ALIGNMENT, made_queue

COPIED = 0x20  # CL_MEM_COPY_HOST_PTR
QUEUE_CONTEXT = 0x1090
BEGIN = 128  # where the input lies in the buffer


def main(product: str, driver: str, *numbers: str) -> None:
    arena_bytes, source, result, size, recorded = map(int, numbers)
    model, library = ctypes.CDLL(product), ctypes.CDLL(driver)
    for name in ("init", "run", "record", "bind_input_x"):
        getattr(model, f"one_{name}").restype = ctypes.c_char_p
    library.clCreateBuffer.restype = ctypes.c_void_p
    queue, context, status = ctypes.c_void_p(made_queue(library, 0)), ctypes.c_void_p(), ctypes.c_int32()
    library.clGetCommandQueueInfo(queue, QUEUE_CONTEXT, ctypes.sizeof(context), ctypes.byref(context), None)
    given = sys.stdin.buffer.read()
    text, flags = bytes(BEGIN) + given, ctypes.c_uint64(COPIED)
    buffer = library.clCreateBuffer(context, flags, ctypes.c_size_t(len(text)), text, ctypes.byref(status))
    room = ctypes.create_string_buffer(arena_bytes + ALIGNMENT)
    start = -(-ctypes.addressof(room) // ALIGNMENT) * ALIGNMENT
    arena = ctypes.c_void_p(start)

    def ran() -> str:
        why = model.one_record(arena) if recorded else None
        why = why or model.one_run(arena)
        return why.decode() if why else ctypes.string_at(start + result, size).hex()

    why = model.one_init(arena, queue, None)
    assert why is None, why
    askew = model.one_bind_input_x(arena, ctypes.c_void_p(buffer), ctypes.c_size_t(BEGIN + 4))
    bound = model.one_bind_input_x(arena, ctypes.c_void_p(buffer), ctypes.c_size_t(BEGIN))
    first = ran()
    ctypes.memmove(start + source, given, len(given))
    model.one_bind_input_x(arena, None, ctypes.c_size_t(0))
    print(askew.decode(), bound, first, ran(), sep="\n")
    model.one_destroy(arena)


if __name__ == "__main__":
    main(*sys.argv[1:])
