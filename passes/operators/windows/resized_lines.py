"""Where each output line of a Resize reads, and with which weights, as onnxruntime's own Resize says.

It is asked on indices, and on unit impulses, so that every coordinate transformation mode means what it means there.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort

from bevel.passes.operators.base import Array


def resizes_images(node: gs.Node) -> bool:
    """Whether only the last two of four axes change."""
    x, y = node.inputs[0].shape, node.outputs[0].shape
    return len(x) == 4 and list(x[:2]) == list(y[:2])


def resized_axes(node: gs.Node) -> list[int]:
    """Those whose size changes, or the last, so that there is one."""
    sizes = list(zip(node.inputs[0].shape, node.outputs[0].shape, strict=True))
    return [axis for axis, (old, new) in enumerate(sizes) if old != new] or [len(sizes) - 1]


def resized(node: gs.Node, values: Array) -> Array:
    """onnxruntime's Resize of `values`, shaped as the node's input."""
    x = gs.Variable("x", values.dtype, [*node.inputs[0].shape])
    y = gs.Variable("y", values.dtype)
    graph = gs.Graph(
        [gs.Node("Resize", "resize", dict(node.attrs), [x, *node.inputs[1:]], [y])], [x], [y], opset=19, ir_version=10
    )
    session = ort.InferenceSession(gs.export_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": np.ascontiguousarray(values)})[0]
    return result


def along(axis: int, rank: int) -> tuple[int | slice, ...]:
    """The first line along `axis`."""
    return tuple(slice(None) if place == axis else 0 for place in range(rank))


def nearest_index(node: gs.Node, axis: int) -> Array:
    """Which input line each output line copies."""
    shape = tuple(node.inputs[0].shape)
    ramp = np.arange(shape[axis], dtype=np.int32).reshape([-1 if place == axis else 1 for place in range(len(shape))])
    result: Array = resized(node, np.broadcast_to(ramp, shape))[along(axis, len(shape))]
    return result


def axis_weights(node: gs.Node, axis: int) -> Array:
    """[out, in]: how much each input line counts in each output line."""
    shape = tuple(node.inputs[0].shape)
    columns = []
    for line in range(shape[axis]):
        impulse = np.zeros(shape, np.float32)
        impulse[(..., line, slice(None)) if axis == 2 else (..., line)] = 1
        columns.append(resized(node, impulse)[along(axis, len(shape))])
    return np.stack(columns, axis=1)


def integer_weights(weights: Array, bits: int) -> Array | None:
    """The weights in 2**-bits, each row summing to 2**bits exactly; None if a row has more than two."""
    if (np.count_nonzero(weights, axis=1) > 2).any() or not np.allclose(weights.sum(axis=1), 1, atol=1e-4):
        return None
    codes: Array = np.rint(weights * 2**bits).astype(np.int32)
    rows = np.arange(len(codes))
    codes[rows, codes.argmax(axis=1)] += 2**bits - codes.sum(axis=1)
    return codes


def taps(codes: Array) -> tuple[Array, Array]:
    """[out, in] with at most two weights a row, as two indices and two weights a row."""
    order = np.argsort(codes == 0, axis=1, kind="stable")[:, :2]
    if order.shape[1] == 1:
        order = np.repeat(order, 2, axis=1)
        weights = np.concatenate([codes, np.zeros_like(codes)], axis=1)
        return order.astype(np.int32), weights.astype(np.int32)
    return order.astype(np.int32), np.take_along_axis(codes, order, axis=1).astype(np.int32)
