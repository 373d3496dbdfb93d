"""How each operator is drawn: its inputs from what the graph has, attributes and weights at random.

Operators whose arguments moved between opsets are spelled as the graph's opset has them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd
from typing import Any

import numpy as np

from fuzz.builder import Builder, UnfitError, Value

Draw = Callable[[Builder], list[Value]]


def window(b: Builder, x: Value, largest: int = 3) -> dict[str, Any]:
    """Attributes of a window that slides over the axes behind the channels."""
    spatial = x.shape[2:]
    kernel = [min(b.whole(1, largest), size) for size in spatial]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if b.chance(0.4):
        attributes["strides"] = [b.whole(1, 2) for _ in spatial]
    if b.chance(0.15):
        attributes["auto_pad"] = b.choose(["SAME_UPPER", "SAME_LOWER", "VALID"])
    elif b.chance(0.6):
        attributes["pads"] = [b.whole(0, size - 1) for size in kernel * 2]
    return attributes


def conv(b: Builder) -> list[Value]:
    x = b.pick(3, 4, 4, 4, 5)
    attributes = window(b, x)
    channels, kernel = x.shape[1], attributes["kernel_shape"]
    group = b.choose([1, 1, channels, gcd(channels, 2)])
    if b.chance(0.2) and "auto_pad" not in attributes:
        attributes["dilations"] = [b.whole(1, 2) for _ in kernel]
    out = group * b.whole(1, 3)
    inputs: list[Value | str] = [x, b.weight([out, channels // group, *kernel], 0.6)]
    if b.chance(0.7):
        inputs.append(b.weight([out], 0.3))
    return b.node("Conv", inputs, group=group, **attributes)


def conv_transpose(b: Builder) -> list[Value]:
    x = b.pick(3, 4, 4)
    attributes = window(b, x)
    attributes.pop("auto_pad", None)
    channels, kernel = x.shape[1], attributes["kernel_shape"]
    group = b.choose([1, 1, channels])
    per_group = b.whole(1, 3)
    if b.chance(0.3):
        attributes["output_padding"] = [min(b.whole(0, 1), step - 1) for step in attributes.get("strides", [1] * 2)]
    inputs: list[Value | str] = [x, b.weight([channels, per_group, *kernel], 0.6)]
    if b.chance(0.6):
        inputs.append(b.weight([per_group * group], 0.3))
    return b.node("ConvTranspose", inputs, group=group, **attributes)


def gemm(b: Builder) -> list[Value]:
    x = b.pick(2)
    out, turned = b.whole(1, 6), b.chance(0.5)
    shape = [out, x.shape[1]] if turned else [x.shape[1], out]
    attributes: dict[str, Any] = {"transB": 1} if turned else {}
    if b.chance(0.2):
        attributes |= {"alpha": 0.5, "beta": 2.0}
    inputs: list[Value | str] = [x, b.weight(shape, 0.6)]
    if b.chance(0.7):
        inputs.append(b.weight(b.choose([[out], [1, out], [1], [x.shape[0], 1], [x.shape[0], out]]), 0.3))
    return b.node("Gemm", inputs, **attributes)


def matmul(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    out = b.whole(1, 6)
    (made,) = b.node("MatMul", [x, b.weight([x.shape[-1], out], 0.6)])
    return b.node("Add", [made, b.weight([out], 0.3)]) if b.chance(0.5) else [made]


def matmul_of_activations(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    turned = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    (other,) = b.node("Transpose", [x], perm=turned)
    return b.node("MatMul", [x, other])


def binary(op: str) -> Draw:
    def draw(b: Builder) -> list[Value]:
        x = b.pick()
        other: Value | str = b.pick_of_shape(x.shape) if b.chance(0.5) else b.operand(x)
        if op == "Div" and isinstance(other, str):
            other = b.weight([1], positive=True)
        return b.node(op, [x, other] if op in ("Div", "PRelu") or b.chance(0.7) else [other, x])

    return draw


def prelu(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    slopes = b.choose([[1], [x.shape[1], *[1] * (x.rank - 2)]])
    return b.node("PRelu", [x, b.weight(slopes, 0.3)])


def power(b: Builder) -> list[Value]:
    exponent = b.choose([2.0, 2.0, 3.0, 1.0, 0.0])
    return b.node("Pow", [b.pick(), b.constant(np.array(exponent, np.float32))])


def unary(op: str, **fixed: Any) -> Draw:
    return lambda b: b.node(op, [b.pick()], **fixed)


def of_positive(op: str) -> Draw:
    """An operator that is defined where its input is above zero."""

    def draw(b: Builder) -> list[Value]:
        (square,) = b.node("Mul", [x := b.pick(), x])
        (positive,) = b.node("Add", [square, b.constant(np.array(0.1, np.float32))])
        return b.node(op, [positive])

    return draw


def with_alpha(op: str) -> Draw:
    return lambda b: b.node(op, [b.pick()], alpha=float(np.float32(b.rng.uniform(0.05, 1.5))))


def clip(b: Builder) -> list[Value]:
    low, high = sorted(b.rng.normal(0, 2, 2).astype(np.float32))
    x = b.pick()
    if b.opset < 11:
        return b.node("Clip", [x], min=float(low), max=float(high))
    bounds = [b.constant(np.array(low)), b.constant(np.array(high))]
    kept = b.choose([bounds, bounds[:1], ["", bounds[1]]])
    return b.node("Clip", [x, *kept])


def pool(op: str) -> Draw:
    def draw(b: Builder) -> list[Value]:
        x = b.pick(3, 4, 4, 4, 5)
        attributes = window(b, x)
        if b.chance(0.2) and b.opset >= 10 and "auto_pad" not in attributes:
            attributes["ceil_mode"] = 1
        if op == "MaxPool" and b.chance(0.2) and b.opset >= 10 and "auto_pad" not in attributes:
            attributes["dilations"] = [b.whole(1, 2) for _ in attributes["kernel_shape"]]
        if op == "AveragePool" and b.chance(0.3):
            attributes["count_include_pad"] = 1
        return b.node(op, [x], **attributes)

    return draw


def reduced(op: str, axes_as_input: int) -> Draw:
    """A reduction; from opset `axes_as_input` on, its axes are an input."""

    def draw(b: Builder) -> list[Value]:
        x = b.pick(2, 3, 4)
        axes = sorted(b.rng.choice(x.rank, b.whole(1, x.rank), replace=False).tolist())
        if b.chance(0.3):
            axes = [axis - x.rank for axis in axes]
        keep = {"keepdims": b.whole(0, 1)}
        if b.opset < axes_as_input:
            return b.node(op, [x], axes=axes, **keep)
        return b.node(op, [x, b.whole_numbers(axes)], **keep)

    return draw


def softmax(op: str) -> Draw:
    def draw(b: Builder) -> list[Value]:
        x = b.pick(2, 3, 4)
        return b.node(op, [x], axis=b.whole(-x.rank, x.rank - 1)) if b.chance(0.7) else b.node(op, [x])

    return draw


def batch_norm(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    channels = [x.shape[1]]
    spread = [b.weight(channels), b.weight(channels), b.weight(channels), b.weight(channels, positive=True)]
    return b.node("BatchNormalization", [x, *spread])


def layer_norm(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    return b.node("LayerNormalization", [x, b.weight(x.shape[-1:]), b.weight(x.shape[-1:])])


def instance_norm(b: Builder) -> list[Value]:
    x = b.pick(3, 4, least=2)
    return b.node("InstanceNormalization", [x, b.weight([x.shape[1]]), b.weight([x.shape[1]])])


def concat(b: Builder) -> list[Value]:
    x = b.pick()
    if not x.rank:
        raise UnfitError
    parts: list[Value | str] = [x]
    for _ in range(b.whole(1, 2)):
        parts.append(b.pick_of_shape(x.shape) if b.chance(0.8) else b.weight(x.shape))
    return b.node("Concat", parts, axis=b.whole(-x.rank, x.rank - 1))


def split(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    axis = b.choose([place for place, size in enumerate(x.shape) if size > 1])
    first = b.whole(1, x.shape[axis] - 1)
    sizes = [first, x.shape[axis] - first]
    if b.opset < 13:
        return b.node("Split", [x], 2, axis=axis, split=sizes)
    return b.node("Split", [x, b.whole_numbers(sizes)], 2, axis=axis)


def slices(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    axis = b.whole(0, x.rank - 1)
    start, end = sorted([b.whole(0, x.shape[axis]), b.whole(0, x.shape[axis] + 2)])
    if b.opset < 10:
        return b.node("Slice", [x], axes=[axis], starts=[start], ends=[end])
    step = b.choose([1, 1, 2, -1])
    bounds = (start, end) if step > 0 else (end - 1, start - x.shape[axis] - 1)
    return b.node("Slice", [x, *(b.whole_numbers([one]) for one in (*bounds, axis, step))])


def gather(b: Builder) -> list[Value]:
    x = b.pick(1, 2, 3, 4)
    axis = b.whole(0, x.rank - 1)
    places = [b.whole(0, x.shape[axis] - 1) for _ in range(b.whole(1, 4))]
    index = np.array(places if b.chance(0.8) else places[0], np.int64)
    return b.node("Gather", [x, b.constant(index)], axis=axis)


def transpose(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4, 5)
    return b.node("Transpose", [x], perm=b.rng.permutation(x.rank).tolist())


def reshape(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4, 5)
    cut = b.whole(1, x.rank - 1)
    target = b.choose([[0, -1], [*x.shape[:cut], -1], [-1, *x.shape[cut:]], [*x.shape, 1], [1, *x.shape]])
    return b.node("Reshape", [x, b.whole_numbers(target)])


def squeeze(b: Builder) -> list[Value]:
    x = b.choose([one for one in b.values if 1 in one.shape and one.rank > 1])
    axes = [b.choose([place for place, size in enumerate(x.shape) if size == 1])]
    if b.opset < 13:
        return b.node("Squeeze", [x], axes=axes)
    return b.node("Squeeze", [x, b.whole_numbers(axes)])


def unsqueeze(b: Builder) -> list[Value]:
    x = b.pick(1, 2, 3)
    axes = [b.whole(0, x.rank)]
    if b.opset < 13:
        return b.node("Unsqueeze", [x], axes=axes)
    return b.node("Unsqueeze", [x, b.whole_numbers(axes)])


def pad(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4, least=2)
    mode = b.choose(["constant", "constant", "reflect", "edge"])
    pads = [b.whole(0, 1) for _ in range(2 * x.rank)]
    if b.opset < 11:
        return b.node("Pad", [x], mode=mode, pads=pads, value=0.5)
    value = [b.constant(np.array(b.rng.normal(), np.float32))] if mode == "constant" and b.chance(0.5) else []
    return b.node("Pad", [x, b.whole_numbers(pads), *value], mode=mode)


def resize(b: Builder) -> list[Value]:
    x = b.pick(3, 4, 4)
    if b.opset < 11:
        raise UnfitError
    scales = [1.0, 1.0, *(b.choose([2.0, 1.5, 0.5, 3.0]) for _ in x.shape[2:])]
    mode = b.choose(["nearest", "linear", "linear", "cubic"])
    place = b.choose(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
    given = b.constant(np.array(scales, np.float32))
    roi = "" if b.opset >= 13 else b.constant(np.zeros(0, np.float32))
    return b.node("Resize", [x, roi, given], mode=mode, coordinate_transformation_mode=place)


def depth_to_space(b: Builder) -> list[Value]:
    x = b.choose([one for one in b.values if one.rank == 4 and one.shape[1] % 4 == 0])
    return b.node("DepthToSpace", [x], blocksize=2, **({"mode": b.choose(["DCR", "CRD"])} if b.opset >= 11 else {}))


def space_to_depth(b: Builder) -> list[Value]:
    x = b.choose([one for one in b.values if one.rank == 4 and not one.shape[2] % 2 and not one.shape[3] % 2])
    return b.node("SpaceToDepth", [x], blocksize=2)


def tile(b: Builder) -> list[Value]:
    x = b.pick(1, 2, 3, 4)
    return b.node("Tile", [x, b.whole_numbers([b.whole(1, 2) for _ in x.shape])])


def expand(b: Builder) -> list[Value]:
    x = b.pick(1, 2, 3, 4)
    grown = [b.whole(1, 3) if size == 1 else size for size in x.shape]
    return b.node("Expand", [x, b.whole_numbers([b.whole(1, 2), *grown] if b.chance(0.3) else grown)])


def where(b: Builder) -> list[Value]:
    x = b.pick()
    mask = b.constant(b.rng.random(x.shape) < 0.5)
    return b.node("Where", [mask, x, b.operand(x)])


def arg_max(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    made = b.node(b.choose(["ArgMax", "ArgMin"]), [x], axis=b.whole(0, x.rank - 1), keepdims=b.whole(0, 1))
    b.values.remove(made[0])  # whole numbers: a result of the model, and read by nothing
    return made


def lrn(b: Builder) -> list[Value]:
    return b.node("LRN", [b.pick(4)], size=b.choose([1, 3, 5]))


def flatten(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    return b.node("Flatten", [x], axis=b.whole(0, x.rank))


def several(op: str) -> Draw:
    """Sum, Mean, Max, Min of one to three tensors."""

    def draw(b: Builder) -> list[Value]:
        x = b.pick()
        return b.node(op, [x, *(b.pick_of_shape(x.shape) for _ in range(b.whole(0, 2)))])

    return draw


ELEMENTWISE = "Relu Sigmoid Tanh HardSigmoid HardSwish Elu Selu Celu Gelu Mish Softplus Softsign Erf Abs Neg Exp Floor"
ELEMENTWISE += " Ceil Round Sign Cos Sin Identity Dropout"
OPERATORS: dict[str, Draw] = {
    **{op: unary(op) for op in ELEMENTWISE.split()},
    **{op: with_alpha(op) for op in ("LeakyRelu", "ThresholdedRelu")},
    **{op: of_positive(op) for op in ("Sqrt", "Log", "Reciprocal")},
    **{op: binary(op) for op in ("Add", "Sub", "Mul", "Div")},
    **{op: several(op) for op in ("Sum", "Mean", "Max", "Min")},
    **{op: pool(op) for op in ("MaxPool", "AveragePool")},
    **{op: unary(op) for op in ("GlobalAveragePool", "GlobalMaxPool")},
    **{op: reduced(op, 18) for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2")},
    "ReduceSum": reduced("ReduceSum", 13),
    **{op: softmax(op) for op in ("Softmax", "LogSoftmax")},
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMul of activations": matmul_of_activations,
    "PRelu": prelu,
    "Pow": power,
    "Clip": clip,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "Concat": concat,
    "Split": split,
    "Slice": slices,
    "Gather": gather,
    "Transpose": transpose,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Pad": pad,
    "Resize": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Tile": tile,
    "Expand": expand,
    "Where": where,
    "ArgMax": arg_max,
    "LRN": lrn,
}
COMMON = ("Conv", "Conv", "Conv", "Gemm", "Gemm", "MatMul", "Relu", "Add", "Mul", "MaxPool", "Concat", "Reshape")
