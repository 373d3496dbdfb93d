"""Codes at their true bit width: a stream of bits, lowest bit of the first code first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_bits(codes: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Integer `codes`, flattened, at `bits` bits each, two's complement: [ceil(size * bits / 8)] bytes, zeros last.

    At 4 bits this is ONNX's layout for INT4, UINT4 and FLOAT4E2M1 (first element in the low nibble), at 8 and 16 bits
    the array's own little-endian bytes.
    """
    places = np.arange(bits, dtype=np.uint16)
    words = codes.ravel().astype(np.uint16)  # modulo 2**16: the low bits of two's complement are unchanged
    return np.packbits((words[:, np.newaxis] >> places & 1).astype(np.uint8), bitorder="little")


def unpack_bits(packed: NDArray[np.uint8], count: int, bits: int, signed: bool) -> NDArray[np.int32]:
    """The first `count` codes of `pack_bits`: [count]. Raises ValueError where bytes are missing."""
    if packed.size * 8 < count * bits:
        raise ValueError(f"{count} codes of {bits} bits need {-(-count * bits // 8)} bytes, not {packed.size}")
    taken = np.unpackbits(packed.ravel(), count=count * bits, bitorder="little").reshape(count, bits)
    weights = 1 << np.arange(bits, dtype=np.int32)
    if signed:
        weights[-1] = -weights[-1]
    return (taken @ weights).astype(np.int32)
