"""Comparing what a device computed with what integer.onnx says, element by element, bits and all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevel.backends.program.op import Array


@dataclass(frozen=True)
class Comparison:
    """`mismatches` counts elements; `first` describes the first of them in a line."""

    mismatches: int
    first: str | None


def compare(got: dict[str, Array], expected: dict[str, Array]) -> Comparison:
    """Both {port name: array [N, *shape]} of equal shapes and element types."""
    mismatches, first = 0, None
    for name, want in expected.items():
        wrong = np.argwhere(different(got[name], want))
        mismatches += len(wrong)
        if first is None and len(wrong):
            place = tuple(int(index) for index in wrong[0])
            first = f"input {place[0]}, output '{name}'{list(place[1:])}: {got[name][place]}, expected {want[place]}"
    return Comparison(mismatches, first)


def different(got: Array, expected: Array) -> Array:
    """Where two arrays differ in any bit.

    Raises ValueError for arrays that cannot be compared: our bug.
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise ValueError(f"{got.dtype} {got.shape} cannot be compared with {expected.dtype} {expected.shape}")
    bits = np.dtype(f"u{got.dtype.itemsize}")
    result: Array = np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(expected).view(bits)
    return result
