"""The scales of an image's 8-bit integers, and of even steps made of them: x, x / 255, x / 127.5 - 1.

Where each of the 256 integers is a code of its own, nothing is lost, and no table is needed: 255 steps of (y(255) -
y(0)) / 255, if 0 is one of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.graph.regions import casts_pixels, evaluate_region, find_region

Fixed = dict[str, tuple[float, int]]  # scale and zero point by tensor

CLOSE = 1e-3  # of a step


def fixed_pixels(points: Mapping[str, gs.Tensor], roots: Mapping[str, gs.Tensor], opset: int) -> Fixed:
    """Of the points that are cast integers, and of functions of them in even steps; `roots`: what those are made of."""
    found: Fixed = {}
    for name, tensor in points.items():
        node = tensor.inputs[0] if tensor.inputs else None
        root = roots.get(name)
        if node is not None and casts_pixels(node):
            found[name] = 1.0, zero_point_of(node)
        elif root is not None and root.inputs and casts_pixels(root.inputs[0]):
            region = find_region(tensor, {root.name})
            if region is None or region.axis is not None:
                continue
            pixels = np.arange(-128, 128, dtype=np.float32) - zero_point_of(root.inputs[0])
            steps = even_steps(evaluate_region(region, pixels, opset))
            if steps is not None:
                found[name] = steps
    return found


def zero_point_of(cast: gs.Node) -> int:
    """The zero point of int8 codes whose reals are the integers that were cast."""
    return -128 if cast.inputs[0].dtype == np.uint8 else 0


def even_steps(reals: NDArray[np.float32]) -> tuple[float, int] | None:
    """Scale and zero point with which codes -128 .. 127 are `reals`; None where they are not even, or leave out 0."""
    scale = float(np.float32((float(reals[-1]) - float(reals[0])) / 255))
    if not np.isfinite(scale) or scale <= 0:
        return None
    codes = reals.astype(np.float64) / scale
    zero_point = int(np.rint(-128 - codes[0]))
    even = np.abs(codes + zero_point - np.arange(-128, 128)).max() < CLOSE
    return (scale, zero_point) if even and -128 <= zero_point <= 127 else None
