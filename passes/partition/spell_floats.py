"""Float operators that TVM's importer gets wrong or lacks, spelled in operators that it gets right.

Each rewrite is the operator's definition in the ONNX specification; float results move by units in the last place.

- Resize by cubic interpolation, with antialias or exclude_outside, with half_pixel_symmetric, or by a factor that does
  not divide: linear in its input along each axis, so a product by a constant matrix, whose columns are what onnxruntime
  answers to unit impulses.
- SpaceToDepth: Reshape, Transpose, Reshape.
- LayerNormalization and RMSNormalization over several axes, or with their further outputs: means, squares and roots.
- BatchNormalization in training mode: the mean and variance of the batch, and the running ones.
- IsInf of one sign: a comparison with that infinity.
- CumSum: a product by a triangle of ones. LpNormalization: a division by the norm. Swish, Celu: by Sigmoid and Elu. Pow
  with an integer exponent: with a float one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.passes.canonicalize.evaluate import open_session

Array = NDArray[Any]

DIVIDES = 1e-5  # relative: how far in * scale may be from the size of a result that was made by that scale


class Speller:
    """New nodes and tensors in place of one node."""

    def __init__(self, node: gs.Node) -> None:
        self.node = node
        self.nodes: list[gs.Node] = []
        self.constants = 0

    def attr(self, name: str, default: Any) -> Any:
        return self.node.attrs.get(name, default)

    def input(self, index: int) -> gs.Tensor | None:
        given = self.node.inputs[index : index + 1]
        return given[0] if given and not given[0].is_empty() else None

    def wanted(self, index: int) -> gs.Variable | None:
        """Output `index` where something reads it."""
        given = self.node.outputs[index : index + 1]
        return given[0] if given and not given[0].is_empty() else None

    def constant(self, values: Any, dtype: Any = np.float32) -> gs.Constant:
        self.constants += 1
        return gs.Constant(f"{self.node.name}/constant_{self.constants}", np.asarray(values, dtype, order="C"))

    def op(self, op: str, *inputs: gs.Tensor, output: gs.Variable | None = None, **attrs: Any) -> gs.Variable:
        name = f"{self.node.name}/{len(self.nodes)}_{op}"
        made = gs.Variable(name) if output is None else output
        self.nodes.append(gs.Node(op, name, attrs, list(inputs), [made]))
        return made

    def reshape(self, x: gs.Tensor, shape: tuple[int, ...], output: gs.Variable | None = None) -> gs.Variable:
        return self.op("Reshape", x, self.constant(shape, np.int64), output=output)

    def mean(self, x: gs.Tensor, axes: list[int]) -> gs.Variable:
        return self.op("ReduceMean", x, self.constant(axes, np.int64), keepdims=1)


def spell(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that computes the same; `model` itself where nothing needs it."""
    graph = gs.import_onnx(model)
    kept: list[gs.Node] = []
    added: list[gs.Node] = []
    for node in graph.nodes:
        rule = RULES.get(node.op)
        made = None if rule is None else rule(Speller(node))
        if made is None:
            kept.append(node)
            continue
        for one in node.outputs:
            one.inputs = [maker for maker in one.inputs if maker is not node]
        added += made
    if not added:
        return model
    graph.nodes = [*kept, *added]
    graph.toposort()
    result: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    return result


def resize(new: Speller) -> list[gs.Node] | None:
    x, y = new.node.inputs[0], new.node.outputs[0]
    before, after = tuple(x.shape), tuple(y.shape)
    if new.attr("coordinate_transformation_mode", "") == "tf_crop_and_resize" or imported_right(new, before, after):
        return None
    moved = [axis for axis, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    shape = list(before)
    for axis in moved:
        matrix = impulses(new.node, axis, before, after)
        if matrix is None:
            return None
        outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
        flat = new.reshape(x, (outer, shape[axis], inner))
        x = new.op("MatMul", new.constant(matrix), flat)
        shape[axis] = after[axis]
    new.reshape(x, after, output=y)
    return new.nodes


def imported_right(new: Speller, before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Nearest and linear of ratios that the sizes tell: TVM computes the ratio from them, whatever `scales` says."""
    unusual = new.attr("mode", "nearest") == "cubic" or new.attr("antialias", 0) or new.attr("exclude_outside", 0)
    unusual |= new.attr("coordinate_transformation_mode", "") == "half_pixel_symmetric" or "axes" in new.node.attrs
    scales = new.input(2)
    if scales is not None and not isinstance(scales, gs.Constant):
        return True  # or refused: nothing here knows them
    given = factors(new.node, len(before))
    told = given is None or np.allclose(np.asarray(before) * given, after, rtol=DIVIDES)
    return bool(told and not unusual)


def factors(node: gs.Node, rank: int) -> Array | None:
    """The factor of every axis, or None where sizes are given instead."""
    scales = node.inputs[2] if len(node.inputs) > 2 and not node.inputs[2].is_empty() else None
    if scales is None or not np.size(scales.values):
        return None
    every = np.ones(rank, np.float32)
    every[list(node.attrs.get("axes", range(rank)))] = scales.values
    return every


def impulses(node: gs.Node, axis: int, before: tuple[int, ...], after: tuple[int, ...]) -> Array | None:
    """[after, before] of one axis: what onnxruntime's Resize along it makes of the unit vectors, or None if nothing.

    The unit vectors lie in the channels of one picture, which is one pixel wide in every other direction.
    """
    count, place = before[axis], max(axis, 2)
    shape = [1] * max(len(before), 4)
    shape[1], shape[place] = count, count
    picture = np.eye(count, dtype=np.float32).reshape(shape)
    attrs = {name: value for name, value in node.attrs.items() if name not in ("axes", "keep_aspect_ratio_policy")}
    x, y = gs.Variable("x", np.float32, shape), gs.Variable("y", np.float32)
    empty = gs.Variable.empty()
    given = factors(node, len(before))
    if given is not None:
        scales = np.ones(len(shape), np.float32)
        scales[place] = given[axis]
        inputs = [x, empty, gs.Constant("scales", scales)]
    else:
        sizes = np.array(shape, np.int64)
        sizes[place] = after[axis]
        inputs = [x, empty, empty, gs.Constant("sizes", sizes)]
    graph = gs.Graph([gs.Node("Resize", "resize", attrs, inputs, [y])], [x], [y], opset=21)
    try:
        (found,) = open_session(gs.export_onnx(graph, do_type_check=False)).run(None, {"x": picture})
    except Exception:  # onnxruntime has no such Resize, and its exceptions share no base class but Exception
        return None
    matrix: Array = np.asarray(found).reshape(count, -1).T
    return matrix if matrix.shape == (after[axis], count) else None


def space_to_depth(new: Speller) -> list[gs.Node]:
    x, y = new.node.inputs[0], new.node.outputs[0]
    (n, c, h, w), block = tuple(x.shape), int(new.node.attrs["blocksize"])
    split = new.reshape(x, (n, c, h // block, block, w // block, block))
    rows = [0, 1, 3, 5, 2, 4] if new.attr("mode", "DCR") == "CRD" else [0, 3, 5, 1, 2, 4]
    new.reshape(new.op("Transpose", split, perm=rows), (n, c * block * block, h // block, w // block), output=y)
    return new.nodes


def layer_normalization(new: Speller) -> list[gs.Node] | None:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias over the axes from `axis` on."""
    x, rank = new.node.inputs[0], len(new.node.inputs[0].shape)
    axis = new.attr("axis", -1) % rank
    further = [new.wanted(1), new.wanted(2)]
    if axis == rank - 1 and all(one is None for one in further):
        return None
    axes = list(range(axis, rank))
    mean = new.mean(x, axes)
    centred = new.op("Sub", x, mean)
    inverse = inverse_root(new, new.mean(new.op("Mul", centred, centred), axes))
    scaled(new, new.op("Mul", centred, inverse))
    for made, output in zip((mean, inverse), further, strict=True):
        if output is not None:
            new.op("Identity", made, output=output)
    return new.nodes


def rms_normalization(new: Speller) -> list[gs.Node] | None:
    """y = x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` on."""
    x, rank = new.node.inputs[0], len(new.node.inputs[0].shape)
    axes = list(range(new.attr("axis", -1) % rank, rank))
    if len(axes) == 1:
        return None
    scaled(new, new.op("Mul", x, inverse_root(new, new.mean(new.op("Mul", x, x), axes))))
    return new.nodes


def inverse_root(new: Speller, variance: gs.Tensor) -> gs.Variable:
    steady = new.op("Add", variance, new.constant(new.attr("epsilon", 1e-5)))
    return new.op("Reciprocal", new.op("Sqrt", steady))


def scaled(new: Speller, x: gs.Variable) -> None:
    """The node's result: `x` times its scale, plus its bias if it has one."""
    y, bias = new.node.outputs[0], new.input(2)
    if bias is None:
        new.op("Mul", x, new.node.inputs[1], output=y)
    else:
        new.op("Add", new.op("Mul", x, new.node.inputs[1]), bias, output=y)


def batch_normalization(new: Speller) -> list[gs.Node] | None:
    """In training mode: by the batch's own mean and variance; running = running * momentum + of the batch * rest."""
    if not new.attr("training_mode", 0):
        return None
    x, scale, bias, running_mean, running_var = new.node.inputs
    rank, momentum = len(x.shape), new.attr("momentum", 0.9)
    axes = [0, *range(2, rank)]
    channels = (1, x.shape[1], *[1] * (rank - 2))
    mean = new.mean(x, axes)
    centred = new.op("Sub", x, mean)
    variance = new.mean(new.op("Mul", centred, centred), axes)
    normal = new.op("Mul", centred, inverse_root(new, variance))
    wide = new.op("Mul", normal, new.reshape(scale, channels))
    new.op("Add", wide, new.reshape(bias, channels), output=new.node.outputs[0])
    for index, (old, seen) in enumerate(((running_mean, mean), (running_var, variance)), 1):
        if (output := new.wanted(index)) is None:
            continue
        kept = new.op("Mul", old, new.constant(momentum))
        now = new.op("Mul", new.reshape(seen, (x.shape[1],)), new.constant(1 - momentum))
        new.op("Add", kept, now, output=output)
    return new.nodes


def is_inf(new: Speller) -> list[gs.Node] | None:
    signs = [value for name, value in (("detect_negative", -np.inf), ("detect_positive", np.inf)) if new.attr(name, 1)]
    if len(signs) != 1:
        return None
    new.op("Equal", new.node.inputs[0], new.constant(signs[0]), output=new.node.outputs[0])
    return new.nodes


def power(new: Speller) -> list[gs.Node] | None:
    """An integer exponent of a float, which the importer refuses, as a float."""
    exponent = new.node.inputs[1]
    if not isinstance(exponent, gs.Constant) or np.asarray(exponent.values).dtype.kind not in "iu":
        return None
    new.op("Pow", new.node.inputs[0], new.constant(exponent.values), output=new.node.outputs[0])
    return new.nodes


def cumulative_sum(new: Speller) -> list[gs.Node] | None:
    """A product by a triangle of ones."""
    x, axis = new.node.inputs
    if not isinstance(axis, gs.Constant) or x.dtype != np.float32:
        return None
    shape, place = tuple(x.shape), int(np.ravel(axis.values)[0]) % len(x.shape)
    triangle = np.tril(np.ones((shape[place], shape[place])), -1 if new.attr("exclusive", 0) else 0)
    matrix = new.constant(triangle.T if new.attr("reverse", 0) else triangle)
    flat = new.reshape(x, (prod(shape[:place]), shape[place], prod(shape[place + 1 :])))
    new.reshape(new.op("MatMul", matrix, flat), shape, output=new.node.outputs[0])
    return new.nodes


def lp_normalization(new: Speller) -> list[gs.Node]:
    """x over its norm, 0 where that is 0."""
    x, axes = new.node.inputs[0], new.constant([new.attr("axis", -1)], np.int64)
    norm = new.op("ReduceL1" if new.attr("p", 2) == 1 else "ReduceL2", x, axes, keepdims=1)
    least = new.op("Max", norm, new.constant(np.finfo(np.float32).tiny))
    new.op("Div", x, least, output=new.node.outputs[0])
    return new.nodes


def swish(new: Speller) -> list[gs.Node]:
    x = new.node.inputs[0]
    gate = new.op("Sigmoid", new.op("Mul", x, new.constant(new.attr("alpha", 1.0))))
    new.op("Mul", x, gate, output=new.node.outputs[0])
    return new.nodes


def celu(new: Speller) -> list[gs.Node]:
    """alpha * Elu(x / alpha)"""
    alpha = new.attr("alpha", 1.0)
    bent = new.op("Elu", new.op("Div", new.node.inputs[0], new.constant(alpha)))
    new.op("Mul", bent, new.constant(alpha), output=new.node.outputs[0])
    return new.nodes


RULES: dict[str, Callable[[Speller], list[gs.Node] | None]] = {
    "Resize": resize,
    "SpaceToDepth": space_to_depth,
    "LayerNormalization": layer_normalization,
    "RMSNormalization": rms_normalization,
    "BatchNormalization": batch_normalization,
    "IsInf": is_inf,
    "Pow": power,
    "CumSum": cumulative_sum,
    "LpNormalization": lp_normalization,
    "Swish": swish,
    "Celu": celu,
}
