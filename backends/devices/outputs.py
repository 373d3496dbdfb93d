"""Comparing what a device computed with what integer.onnx says, element by element, bits and all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevel.backends.kernel import Array


@dataclass(frozen=True)
class Comparison:
    """`mismatches` counts elements; `first` describes the first of them in a line."""

    mismatches: int
    first: str | None


def compare(got: dict[str, Array], expected: dict[str, Array], tolerance: float = 0.0) -> Comparison:
    """Both {port name: array [N, *shape]} of equal shapes and element types; `tolerance` as in `Vectors`."""
    mismatches, first = 0, None
    for name, want in expected.items():
        wrong = np.argwhere(different(got[name], want, tolerance))
        mismatches += len(wrong)
        if first is None and len(wrong):
            place = tuple(int(index) for index in wrong[0])
            first = f"input {place[0]}, output '{name}'{list(place[1:])}: {got[name][place]}, expected {want[place]}"
    return Comparison(mismatches, first)


def different(got: Array, expected: Array, tolerance: float) -> Array:
    """Where two arrays differ: in any bit, or, with a tolerance, by more than that. Equal bits never differ.

    Raises ValueError for arrays that cannot be compared: our bug.
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise ValueError(f"{got.dtype} {got.shape} cannot be compared with {expected.dtype} {expected.shape}")
    bits = np.dtype(f"u{got.dtype.itemsize}")
    result: Array = np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(expected).view(bits)
    return result & ~close(got, expected, tolerance) if tolerance else result


def close(got: Array, expected: Array, tolerance: float) -> Array:
    """A NaN is close to nothing, and nothing finite is close to an infinity."""
    wide, want = got.astype(np.float64), expected.astype(np.float64)
    magnitude = np.max(np.abs(want), initial=0.0, where=np.isfinite(want))
    with np.errstate(invalid="ignore"):
        result: Array = np.abs(wide - want) <= tolerance * magnitude
    return result
