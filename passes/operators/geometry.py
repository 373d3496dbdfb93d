"""Windows over images: strides, dilations and pads of ONNX nodes of one and two dimensions."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from bevel.passes.operators.base import Match, Reason

# Attributes that canonicalization resolves into pads, with the values that need none
RESOLVED = {"auto_pad": ("NOTSET", "VALID"), "ceil_mode": (0,), "output_shape": ()}


def windowed(node: gs.Node, kind: str, settings: tuple[str, ...]) -> Match | Reason:
    """A window of `kind` over an image of one or two dimensions, whose `settings` were resolved into pads."""
    if any(name in node.attrs and node.attrs[name] not in RESOLVED[name] for name in settings):
        return Reason(f"{' or '.join(settings)} was not resolved into pads")
    if len(node.inputs[0].shape) not in (3, 4):
        return Reason(f"only 1-D and 2-D {kind} an integer kernel")
    return Match(node, tuple(node.inputs))


def geometry(node: gs.Node, spatial: int) -> dict[str, list[int]]:
    """Strides, dilations and pads of a convolution or pooling node, ONNX defaults filled in."""
    return {
        "strides": [int(v) for v in node.attrs.get("strides", [1] * spatial)],
        "dilations": [int(v) for v in node.attrs.get("dilations", [1] * spatial)],
        "pads": [int(v) for v in node.attrs.get("pads", [0] * 2 * spatial)],
    }


def two_dimensional(values: list[int], fill: int) -> tuple[int, int]:
    """One value a spatial axis, with the missing height of a 1-D operator filled in."""
    height, width = values if len(values) == 2 else [fill, *values]
    return int(height), int(width)


def edges(pads: list[int]) -> tuple[int, int, int, int]:
    """ONNX pads (all begins, then all ends) as top, left, bottom, right."""
    begin, end = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    top, left = two_dimensional(begin, 0)
    bottom, right = two_dimensional(end, 0)
    return top, left, bottom, right


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """[N, C, L] or [N, C, H, W] as batch, channels, height, width."""
    batch, channels, *image = shape
    height, width = two_dimensional(image, 1)
    return batch, channels, height, width
