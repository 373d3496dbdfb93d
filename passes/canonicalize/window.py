"""Arithmetic of sliding windows: what auto_pad and ceil_mode come to once the sizes are known.

Source: the ONNX operator specification of Conv, ConvTranspose, MaxPool and AveragePool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import static_shape


@dataclass(frozen=True)
class WindowAxis:
    """One spatial axis: sizes in elements, padding before and after."""

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    end: int = 0

    @property
    def extent(self) -> int:
        """Elements from the first to the last tap of one window."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def windows(self) -> int:
        """Windows that fit: the output size, rounded down."""
        return (self.size + self.begin + self.end - self.extent) // self.stride + 1


def axes(node: gs.Node, kernel: tuple[int, ...]) -> list[WindowAxis]:
    """The spatial axes of a convolution or pooling node, with its own `pads` (auto_pad not applied)."""
    sizes = (static_shape(node.inputs[0]) or ())[2:]
    strides = node.attrs.get("strides", [1] * len(sizes))
    dilations = node.attrs.get("dilations", [1] * len(sizes))
    pads = node.attrs.get("pads", [0] * (2 * len(sizes)))
    begins, ends = pads[: len(sizes)], pads[len(sizes) :]
    return [WindowAxis(*fields) for fields in zip(sizes, kernel, strides, dilations, begins, ends, strict=True)]


def auto_padding(node: gs.Node, axis: WindowAxis) -> tuple[int, int]:
    """(begin, end) of one axis of a Conv or a pool under the node's auto_pad."""
    mode = node.attrs.get("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return axis.begin, axis.end
    if mode == "VALID":
        return 0, 0
    outputs = -(-axis.size // axis.stride)
    return split(max((outputs - 1) * axis.stride + axis.extent - axis.size, 0), mode)


def split(total: int, mode: str) -> tuple[int, int]:
    """Padding of `total` elements in halves; the odd one goes to the end for SAME_UPPER, else to the begin."""
    half = total // 2
    return (half, total - half) if mode == "SAME_UPPER" else (total - half, half)


def explicit(axes: list[WindowAxis], pads: list[tuple[int, int]]) -> dict[str, Any]:
    """The window attributes of a node, all of them, none by default."""
    return {
        "kernel_shape": [axis.kernel for axis in axes],
        "strides": [axis.stride for axis in axes],
        "dilations": [axis.dilation for axis in axes],
        "pads": [begin for begin, _ in pads] + [end for _, end in pads],
    }
