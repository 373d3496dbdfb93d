"""Run as a program: a model on a command queue that its caller made, in order (0) or not (1).

    own_queue.py libone.so libOpenCL.so.1 ORDER ARENA_BYTES INPUT OUTPUT OUTPUT_BYTES < input

INPUT and OUTPUT are offsets in the arena. Prints what init answered, whether the model's queue is the caller's, how
many hold that queue behind destroy, and the output.
"""

from __future__ import annotations

import ctypes
import sys
import time

from bevel.backends.devices.opencl_probe import first

ALIGNMENT = 64
REFERENCES = 0x1092  # CL_QUEUE_REFERENCE_COUNT
PATIENCE_S = 10


def made_queue(library: ctypes.CDLL, order: int) -> int | None:
    library.clCreateContext.restype = library.clCreateCommandQueue.restype = ctypes.c_void_p
    device, status = ctypes.c_void_p(first(library)), ctypes.c_int32()
    context = library.clCreateContext(None, 1, ctypes.byref(device), None, None, ctypes.byref(status))
    given = ctypes.c_void_p(context), device, ctypes.c_uint64(order), ctypes.byref(status)
    queue: int | None = library.clCreateCommandQueue(*given)
    return queue


def holders(library: ctypes.CDLL, queue: ctypes.c_void_p) -> int:
    """How many hold the queue, once its driver has let go of what it ran: PoCL's threads do that behind clFinish."""
    held, late = ctypes.c_uint32(), time.monotonic() + PATIENCE_S
    while True:
        library.clGetCommandQueueInfo(queue, REFERENCES, ctypes.sizeof(held), ctypes.byref(held), None)
        if held.value <= 1 or time.monotonic() > late:
            return held.value
        time.sleep(0.001)


def main(product: str, driver: str, *numbers: str) -> None:
    order, arena_bytes, source, result, size = map(int, numbers)
    model, library = ctypes.CDLL(product), ctypes.CDLL(driver)
    model.one_init.restype = model.one_run.restype = ctypes.c_char_p
    model.one_queue.restype = ctypes.c_void_p
    queue = ctypes.c_void_p(made_queue(library, order))
    room = ctypes.create_string_buffer(arena_bytes + ALIGNMENT)
    start = -(-ctypes.addressof(room) // ALIGNMENT) * ALIGNMENT
    arena, given = ctypes.c_void_p(start), sys.stdin.buffer.read()
    why = model.one_init(arena, queue, None)
    same = model.one_queue(arena) == queue.value
    ctypes.memmove(start + source, given, len(given))
    why = why or model.one_run(arena)
    model.one_destroy(arena)
    held = holders(library, queue)
    print(why.decode() if why else "", same, held, ctypes.string_at(start + result, size).hex(), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
