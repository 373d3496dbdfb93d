"""Test vectors as the firmware reads them: a little-endian count, then each sample's inputs and expected outputs, each
filled up to whole words, so that floats may be read where they are. Before a sample of a model that keeps something
stands a word: whether a sequence begins with it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from bevel.backends.devices.base import Vectors
from bevel.backends.program.op import Array
from bevel.backends.program.program import Port

COUNT_BYTES = 4
WORD = 4


def pack(vectors: Vectors, inputs: Sequence[Port], outputs: Sequence[Port], keeps: bool = False) -> bytes:
    """The contents of the section .vectors (struct bevel_vectors in report.h), ports in the order given. `keeps`:
    whether the model keeps something from one run to the next.

    Raises ValueError where an array is not what its port says.
    """
    columns = [rows(vectors.inputs, port) for port in inputs] + [rows(vectors.expected, port) for port in outputs]
    if keeps:
        columns.insert(0, [int(begins).to_bytes(WORD, "little") for begins in vectors.starts])
    samples = [b"".join(filled(column[index]) for column in columns) for index in range(len(vectors))]
    return len(vectors).to_bytes(COUNT_BYTES, "little") + b"".join(samples)


def filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % WORD)


def expected_crc(vectors: Vectors, outputs: Sequence[Port]) -> int:
    """The CRC-32 that the firmware's report must show: every output byte, sample after sample."""
    columns = [rows(vectors.expected, port) for port in outputs]
    return zlib.crc32(b"".join(column[index] for index in range(len(vectors)) for column in columns))


def rows(arrays: dict[str, Array], port: Port) -> list[bytes]:
    """The bytes of each sample of one port."""
    array = arrays[port.name]
    if array.shape[1:] != port.shape or array.dtype != np.dtype(port.dtype):
        found = f"{array.dtype}{list(array.shape[1:])}"
        raise ValueError(f"vectors for {port.name} are {found}, not {port.dtype}{list(port.shape)}")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return [np.ascontiguousarray(sample).tobytes() for sample in little]
