"""Sizes that an operator, its integer form and its loops agree on."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

REGISTER_TILE = 4  # accumulators that stay in registers on a core with thirteen of them, beside pointers and counters


def blocks_of(size: int, block: int) -> int:
    """So many blocks hold `size` elements, the last one perhaps in part."""
    return -(-size // block)


def register_tile(channels: int) -> int:
    """How many output channels to accumulate at once: the largest divisor of `channels` up to `REGISTER_TILE`."""
    return max(tile for tile in range(1, REGISTER_TILE + 1) if channels % tile == 0)


def window_positions(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Where a window of `kernel` taps fits along one axis: ONNX Conv's output size, rounded down."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def image_positions(
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> tuple[int, int]:
    """(rows, columns) of windows over an image; pads are (top, left, bottom, right)."""
    rows, columns = (
        window_positions(size[axis], kernel[axis], strides[axis], dilations[axis], pads[axis], pads[axis + 2])
        for axis in (0, 1)
    )
    return rows, columns


def broadcast_strides(shape: Sequence[int], operand: Sequence[int]) -> tuple[int, ...]:
    """The operand's element strides along each axis of `shape`, 0 where it is repeated.

    Raises ValueError when `operand` does not broadcast to `shape` as numpy does it.
    """
    padded = (1,) * (len(shape) - len(operand)) + tuple(operand)
    if len(padded) != len(shape) or any(have not in (1, want) for have, want in zip(padded, shape, strict=True)):
        raise ValueError(f"{tuple(operand)} does not broadcast to {tuple(shape)}")
    return tuple(0 if have == 1 else prod(padded[axis + 1 :]) for axis, have in enumerate(padded))


def broadcast_axes(shape: Sequence[int], *operands: Sequence[int]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """The fewest loops over `shape` in which every operand has one stride a loop: (extents, strides per operand).

    Axes of size 1 vanish, and neighbours merge where each operand is contiguous, or repeated, along both.
    Raises ValueError when an operand does not broadcast to `shape`.
    """
    strides = [broadcast_strides(shape, operand) for operand in operands]
    merged: list[tuple[int, tuple[int, ...]]] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        inner = tuple(stride[axis] for stride in strides)
        if merged and merged[-1][1] == tuple(extent * stride for stride in inner):
            merged[-1] = (merged[-1][0] * extent, inner)
        else:
            merged.append((extent, inner))
    merged = merged or [(1, (0,) * len(operands))]
    columns = [tuple(inner[which] for _, inner in merged) for which in range(len(operands))]
    return tuple(extent for extent, _ in merged), columns
