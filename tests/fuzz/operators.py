"""How each operator is drawn: its inputs from what the graph has, attributes and weights at random.

Operators whose arguments moved between opsets are spelled as the graph's opset has them.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np

from fuzz import moves
from fuzz.builder import Builder, Draw, Value
from fuzz.recurrent import recurrent


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


def of_bounded(op: str) -> Draw:
    """An operator that is defined, or small, between -1 and 1."""

    def draw(b: Builder) -> list[Value]:
        (bounded,) = b.node(b.choose(["Tanh", "Sin"]), [b.pick()])
        return b.node(op, [bounded])

    return draw


def hyperbolic_area(b: Builder) -> list[Value]:
    (square,) = b.node("Mul", [x := b.pick(), x])
    (above,) = b.node("Add", [square, b.constant(np.array(1.5, np.float32))])
    return b.node("Acosh", [above])


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


def masked_softmax(b: Builder) -> list[Value]:
    """Behind a constant that bars elements: added, or chosen; the first of each row, or any."""
    x = b.pick(2, 3, 4)
    rows = [1 if b.chance(0.4) else size for size in x.shape[:-1]]
    n = x.shape[-1]
    first = np.arange(n) < b.rng.integers(1, n + 1, (*rows, 1))
    keep = first if b.chance(0.5) else b.rng.random((*rows, n)) < 0.7
    barring = b.choose([-1e9, -1e4, -np.inf, float(np.finfo(np.float32).min)])
    keep[..., 0] |= ~keep.any(axis=-1)
    keep = keep[(0,) * b.whole(0, len([size for size in rows[:1] if size == 1]))]
    if b.chance(0.5):
        (masked,) = b.node("Add", [x, b.constant(np.where(keep, 0, barring).astype(np.float32))])
    else:
        far = b.constant(np.array(barring, np.float32))
        chosen = [b.constant(keep), x, far] if b.chance(0.5) else [b.constant(~keep), far, x]
        (masked,) = b.node("Where", chosen)
    if b.chance(0.3):
        (masked,) = b.node(b.choose(["Mul", "Div"]), [masked, b.constant(np.array(0.5, np.float32))])
    return b.node("Softmax", [masked], axis=-1)


def rotary(b: Builder) -> list[Value]:
    """x * cos + rotate_half(x) * sin along the last axis, or four products of its halves; positions along another."""
    x = b.pick(2, 3, 4, least=2)
    if x.shape[-1] % 2:
        (x,) = b.node("Concat", [x, x], axis=x.rank - 1)
    half = x.shape[-1] // 2
    places = [1, *(1 if b.chance(0.3) else size for size in x.shape[1:-1])]
    angles = b.rng.uniform(-3, 3, (*places, half))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    a, c = b.node("Split", [x], 2, axis=x.rank - 1, **({"num_outputs": 2} if b.opset >= 18 else {}))
    if b.chance(0.5):
        (negative,) = b.node("Neg", [c])
        (turned,) = b.node("Concat", [negative, a], axis=x.rank - 1)
        (own,) = b.node("Mul", [x, b.constant(np.concatenate([cos, cos], -1))])
        (other,) = b.node("Mul", [turned, b.constant(np.concatenate([sin, sin], -1))])
        return b.node("Add", [own, other])
    cosine, sine = b.constant(cos), b.constant(sin)
    products = [b.node("Mul", [one, factor])[0] for one, factor in ((a, cosine), (c, sine), (a, sine), (c, cosine))]
    (first,), (second,) = b.node("Sub", products[:2]), b.node("Add", products[2:])
    return b.node("Concat", [first, second], axis=x.rank - 1)


def attention(b: Builder) -> list[Value]:
    """Queries, keys and values of one tensor of tokens, in heads, keys and values shared by several or not."""
    x = b.pick(3)
    batch, tokens, channels = x.shape
    groups, each, width = b.whole(1, 2), b.whole(1, 2), b.choose([2, 4])

    def heads(count: int, turned: bool = False) -> Value:
        (made,) = b.node("MatMul", [x, b.weight([channels, count * width], channels**-0.5)])
        (cut,) = b.node("Reshape", [made, b.whole_numbers([batch, tokens, count, width])])
        if count < groups * each:
            (more,) = b.node("Reshape", [cut, b.whole_numbers([batch, tokens, count, 1, width])])
            (copies,) = b.node("Tile", [more, b.whole_numbers([1, 1, 1, each, 1])])
            (cut,) = b.node("Reshape", [copies, b.whole_numbers([batch, tokens, groups * each, width])])
        return b.node("Transpose", [cut], perm=[0, 2, 3, 1] if turned else [0, 2, 1, 3])[0]

    (scores,) = b.node("MatMul", [heads(groups * each), heads(groups, turned=True)])
    (scaled,) = b.node("Mul", [scores, b.constant(np.array(width**-0.5, np.float32))])
    if b.chance(0.5):
        mask = np.triu(np.full((tokens, tokens), -1e9, np.float32), 1)
        (scaled,) = b.node("Add", [scaled, b.constant(mask)])
    (shares,) = b.node("Softmax", [scaled], axis=-1)
    (mixed,) = b.node("MatMul", [shares, heads(groups)])
    (by_token,) = b.node("Transpose", [mixed], perm=[0, 2, 1, 3])
    return b.node("Reshape", [by_token, b.whole_numbers([batch, tokens, groups * each * width])])


def gated(b: Builder) -> list[Value]:
    """SwiGLU: silu(x wg) * (x wu)"""
    x = b.pick(2, 3)
    out = b.whole(1, 6)
    gate, up = (b.node("MatMul", [x, b.weight([x.shape[-1], out], 0.6)])[0] for _ in range(2))
    (sigmoid,) = b.node("Sigmoid", [gate])
    (silu,) = b.node("Mul", [gate, sigmoid])
    return b.node("Mul", [silu, up])


def batch_norm(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    channels = [x.shape[1]]
    spread = [b.weight(channels), b.weight(channels), b.weight(channels), b.weight(channels, positive=True)]
    return b.node("BatchNormalization", [x, *spread])


def layer_norm(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    return b.node("LayerNormalization", [x, b.weight(x.shape[-1:]), b.weight(x.shape[-1:])])


def rms_norm(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    return b.node("RMSNormalization", [x, b.weight(x.shape[-1:])])


def group_norm(b: Builder) -> list[Value]:
    x = b.pick(3, 4, least=2)
    groups = b.choose([1, 2, x.shape[1]])
    size = x.shape[1] if b.opset >= 21 else groups
    return b.node("GroupNormalization", [x, b.weight([size]), b.weight([size])], num_groups=groups)


def lp_norm(b: Builder) -> list[Value]:
    x = b.pick(2, 3, 4)
    return b.node("LpNormalization", [x], axis=b.whole(0, x.rank - 1), p=b.choose([1, 2, 2]))


def instance_norm(b: Builder) -> list[Value]:
    x = b.pick(3, 4, least=2)
    return b.node("InstanceNormalization", [x, b.weight([x.shape[1]]), b.weight([x.shape[1]])])


def where(b: Builder) -> list[Value]:
    x = b.pick()
    mask = b.constant(b.rng.random(x.shape) < 0.5)
    return b.node("Where", [mask, x, b.operand(x)])


def compared(op: str) -> Draw:
    """A comparison, which is a result of the model, chooses between two tensors, or counts as 0 and 1."""

    def draw(b: Builder) -> list[Value]:
        x = b.pick()
        other: Value | str = b.pick_of_shape(x.shape) if b.chance(0.5) else b.operand(x)
        (mask,) = b.node(op, [x, other])
        match b.whole(0, 2):
            case 0:
                return [mask]
            case 1:
                return b.node("Where", [mask, x, b.operand(x)])
        return b.node("Cast", [mask], to=1)

    return draw


def extreme(op: str) -> Draw:
    def draw(b: Builder) -> list[Value]:
        x = b.pick(2, 3, 4)
        return b.node(op, [x], axis=b.whole(0, x.rank - 1), keepdims=b.whole(0, 1))

    return draw


def lrn(b: Builder) -> list[Value]:
    return b.node("LRN", [b.pick(4)], size=b.choose([1, 3, 5]))


def several(op: str) -> Draw:
    """Sum, Mean, Max, Min of one to three tensors."""

    def draw(b: Builder) -> list[Value]:
        x = b.pick()
        others: list[Value | str] = [b.pick_of_shape(x.shape) for _ in range(b.whole(0, 2))]
        return b.node(op, [x, *others, *([b.operand(x)] if b.chance(0.3) else [])])

    return draw


ELEMENTWISE = "Relu Sigmoid Tanh HardSigmoid HardSwish Elu Selu Celu Gelu Mish Softplus Softsign Erf Abs Neg Exp Floor"
ELEMENTWISE += " Ceil Round Sign Cos Sin Atan Asinh Shrink Swish Identity Dropout"
OPERATORS: dict[str, Draw] = {
    **{op: unary(op) for op in ELEMENTWISE.split()},
    **{op: with_alpha(op) for op in ("LeakyRelu", "ThresholdedRelu")},
    **{op: of_positive(op) for op in ("Sqrt", "Log", "Reciprocal")},
    **{op: of_bounded(op) for op in ("Acos", "Asin", "Tan", "Sinh", "Cosh", "Atanh")},
    "Acosh": hyperbolic_area,
    **{op: recurrent(op) for op in ("LSTM", "GRU", "RNN")},
    **{op: binary(op) for op in ("Add", "Sub", "Mul", "Div")},
    **{op: several(op) for op in ("Sum", "Mean", "Max", "Min")},
    **{op: pool(op) for op in ("MaxPool", "AveragePool")},
    **{op: unary(op) for op in ("GlobalAveragePool", "GlobalMaxPool")},
    **{
        op: reduced(op, 18)
        for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")
    },
    "ReduceSum": reduced("ReduceSum", 13),
    **{op: softmax(op) for op in ("Softmax", "LogSoftmax")},
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "MatMul of activations": matmul_of_activations,
    "masked Softmax": masked_softmax,
    "rotary embedding": rotary,
    "attention": attention,
    "SwiGLU": gated,
    "PRelu": prelu,
    "Pow": power,
    "Clip": clip,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "LpNormalization": lp_norm,
    "Concat": moves.concat,
    "Split": moves.split,
    "Slice": moves.slices,
    "Gather": moves.gather,
    "Transpose": moves.transpose,
    "Reshape": moves.reshape,
    "Flatten": moves.flatten,
    "Squeeze": moves.squeeze,
    "Unsqueeze": moves.unsqueeze,
    "Pad": moves.pad,
    "Resize": moves.resize,
    "DepthToSpace": moves.depth_to_space,
    "SpaceToDepth": moves.space_to_depth,
    "Tile": moves.tile,
    "Expand": moves.expand,
    "Where": where,
    **{op: extreme(op) for op in ("ArgMax", "ArgMin")},
    **{op: compared(op) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    "LRN": lrn,
}
COMMON = ("Conv", "Conv", "Conv", "Gemm", "Gemm", "MatMul", "Relu", "Add", "Mul", "MaxPool", "Concat", "Reshape")
