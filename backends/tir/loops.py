"""Conditions and places that the kernels' loops are made of."""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import reduce
from typing import Any

from bevel.backends.tir.lazy import T, tirx


def inside_image(row: Any, column: Any, height: int, width: int, pads: tuple[int, int, int, int]) -> Any:
    """Whether a window's tap is inside the image, as far as `pads` (top, left, bottom, right) leave that open.

    A TIR condition on the tap's coordinates, or the Python True where no tap can be outside.
    """
    top, left, bottom, right = pads
    edges = ((top, row >= 0), (bottom, row < height), (left, column >= 0), (right, column < width))
    conditions = [inside for padded, inside in edges if padded]
    return reduce(T.And, conditions) if conditions else True


def offset_of(indices: Any, strides: tuple[int, ...]) -> Any:
    """The element that loop variables (one, or a sequence) reach with these strides."""
    several = indices if isinstance(indices, Sequence) else [indices]
    return sum(index * stride for index, stride in zip(several, strides, strict=True))


def without(function: Any, names: Container[str]) -> Any:
    """The PrimFunc without some of its buffers, which nothing in it touches."""
    kept = [buffer for buffer in function.params if buffer.name not in names]
    return tirx.PrimFunc(kept, function.body, function.ret_type, function.attrs)
