"""Run as a program: the first GPU that an OpenCL library knows, or else the first device: name, type, version."""

from __future__ import annotations

import ctypes
import sys

GPU, ANY = 4, 0xFFFFFFFF
NAME, TYPE, VERSION = 0x102B, 0x1000, 0x102F
MOST = 16  # platforms


def first(library: ctypes.CDLL) -> int | None:
    platforms, count = (ctypes.c_void_p * MOST)(), ctypes.c_uint32()
    if library.clGetPlatformIDs(MOST, platforms, ctypes.byref(count)):
        return None
    for kind in (GPU, ANY):
        for platform in platforms[: min(count.value, MOST)]:
            device = ctypes.c_void_p()
            found = library.clGetDeviceIDs(
                ctypes.c_void_p(platform), ctypes.c_uint64(kind), 1, ctypes.byref(device), None
            )
            if found == 0:
                return device.value
    return None


def told(library: ctypes.CDLL, device: int, what: int) -> bytes:
    text = ctypes.create_string_buffer(512)
    library.clGetDeviceInfo(ctypes.c_void_p(device), what, ctypes.sizeof(text) - 1, text, None)
    return text.raw


def main(path: str) -> int:
    try:
        library = ctypes.CDLL(path)
        device = first(library)
    except (OSError, AttributeError):
        return 1
    if device is None:
        return 1
    name, version = (told(library, device, one).split(b"\0")[0].decode(errors="replace") for one in (NAME, VERSION))
    print(name.strip(), int.from_bytes(told(library, device, TYPE)[:8], "little"), version.strip(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
