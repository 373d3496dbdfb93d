"""Spell every product with constant weights as Gemm(x [M, K], w [K, N], b [N]), without attributes.

    alpha * x' @ w' + beta * c   becomes   Gemm(x, alpha * w, beta * c)
    x [..., K] @ w [K, N] + b    becomes   Reshape, Gemm, Reshape

MatMul and the Add behind it are one Gemm; a missing bias is zero. A third input of Gemm that is no number per column is
added by a node of its own. A Gemm of two activations is a MatMul, with nodes for what else it does. A product of two
activations and a batch of weights stay MatMul, and so does a constant on the left, for `convolve_by_left_matrix`. In a
quantized model a parameter may be a DequantizeLinear of constants.
Exact but for the order of one addition, and for alpha and beta, which round each weight once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.base import Condition, Pass, PassResult, Work
from bevel.passes.canonicalize.parameters import is_parameter, is_transposable, transposed
from bevel.passes.conditions import STATIC_SHAPES
from bevel.passes.graph.edit import alive, append, constant, detach, given, read_once, static_shape, variable


class MatrixProduct(NamedTuple):
    """A MatMul by constant weights and the Add of a bias behind it, if there is one."""

    matmul: gs.Node
    add: gs.Node | None
    bias: gs.Tensor | None


@dataclass(frozen=True)
class UnifyGemm(Pass):
    name: ClassVar[str] = "unify-gemm"
    requires: ClassVar[tuple[Condition, ...]] = (STATIC_SHAPES,)

    def call(self, work: Work) -> PassResult:
        graph = work.graph
        notes = []
        modified = False
        for node in alive(graph):
            if node.op == "Gemm" and not is_unified(node):
                separate_bias(graph, node)
                reason = gemm_obstacle(node)
                if reason is None:
                    unify(graph, node)
                elif not is_parameter(node.inputs[1]):
                    open_up(graph, node)
                    reason = None
            elif node.op == "MatMul":
                found = find(graph, node)
                if found is None:
                    continue
                reason = found if isinstance(found, str) else None
                if isinstance(found, MatrixProduct):
                    rewrite(graph, found)
            else:
                continue
            if reason:
                notes.append(self.note(node.name, "stays", f"stays {node.op}: {reason}"))
            modified |= reason is None
        return work.result(modified, notes)


def is_unified(gemm: gs.Node) -> bool:
    weight, bias = gemm.inputs[1], given(gemm, 2)
    return not gemm.attrs and is_parameter(weight) and bias is not None and static_shape(bias) == (columns(weight),)


def columns(weight: gs.Tensor) -> int:
    return (static_shape(weight) or (0,))[-1]


def gemm_obstacle(gemm: gs.Node) -> str | None:
    weight, bias = gemm.inputs[1], given(gemm, 2)
    if not is_parameter(weight):
        return "its weights are not constant"
    if gemm.attrs.get("transB", 0) and not is_transposable(weight):
        return "its weights are quantized in blocks"
    if not isinstance(weight, gs.Constant) and gemm.attrs.get("alpha", 1.0) != 1:
        return "alpha cannot enter quantized weights"
    if gemm.attrs.get("transA", 0) and static_shape(gemm.inputs[0]) is None:
        return "the shape of its input is unknown"
    if bias is None:
        return None
    size = columns(weight) if not gemm.attrs.get("transB", 0) else (static_shape(weight) or (0,))[0]
    if not is_parameter(bias) or as_bias_shape(static_shape(bias), size) is None:
        return "its third input is no bias per column"
    if not isinstance(bias, gs.Constant) and (gemm.attrs.get("beta", 1.0) != 1 or static_shape(bias) != (size,)):
        return "its quantized bias would have to be scaled or reshaped"
    return None


def separate_bias(graph: gs.Graph, gemm: gs.Node) -> None:
    """Let a node of its own add a third input that is not one constant number for each column."""
    bias, result = given(gemm, 2), gemm.outputs[0]
    shape = static_shape(result)
    if bias is None or shape is None:
        return
    if gemm.attrs.get("beta", 1.0) == 0:  # ONNX leaves it unread, whatever it holds
        gemm.inputs = gemm.inputs[:2]
        gemm.attrs.pop("beta")
        return
    if is_parameter(bias) and as_bias_shape(static_shape(bias), shape[-1]) is not None:
        return
    addend = scaled(graph, gemm.name, bias, gemm.attrs.pop("beta", 1.0))
    product = variable(graph, f"{gemm.name}.product", result.dtype, shape)
    gemm.inputs, gemm.outputs = gemm.inputs[:2], [product]
    append(graph, "Add", f"{gemm.name}.add", [product, addend], result)


def times(graph: gs.Graph, name: str, tensor: gs.Tensor, factor: float) -> gs.Variable:
    result = variable(graph, f"{name}.scaled", tensor.dtype, static_shape(tensor) or ())
    number = constant(graph, f"{name}.factor", np.array(factor, tensor.dtype))
    append(graph, "Mul", name, [tensor, number], result)
    return result


def open_up(graph: gs.Graph, gemm: gs.Node) -> None:
    """Transpose, MatMul, Mul and Add for a Gemm whose factors are both computed."""
    attrs, result, bias = dict(gemm.attrs), gemm.outputs[0], given(gemm, 2)
    factors = []
    for place, key in enumerate(("transA", "transB")):
        factor = gemm.inputs[place]
        if attrs.get(key, 0):
            turned = variable(graph, f"{gemm.name}.{key}", factor.dtype, (static_shape(factor) or ())[::-1])
            append(graph, "Transpose", turned.name, [factor], turned, {"perm": [1, 0]})
            factor = turned
        factors.append(factor)
    name, shape = gemm.name, static_shape(result) or ()
    detach(gemm)
    product = variable(graph, f"{name}.product", result.dtype, shape)
    append(graph, "MatMul", name, factors, product)
    if attrs.get("alpha", 1.0) != 1:
        product = times(graph, f"{name}.alpha", product, attrs["alpha"])
    if bias is not None:
        addend = scaled(graph, name, bias, attrs.get("beta", 1.0))
        append(graph, "Add", f"{name}.add", [product, addend], result)
        return
    product.inputs[0].outputs = [result]


def scaled(graph: gs.Graph, name: str, bias: gs.Tensor, factor: float) -> gs.Tensor:
    if factor == 1:
        return bias
    if isinstance(bias, gs.Constant):
        return constant(graph, f"{name}.bias", (bias.values * factor).astype(bias.dtype))
    return times(graph, f"{name}.beta", bias, factor)


def as_bias_shape(shape: tuple[int, ...] | None, size: int) -> tuple[int, ...] | None:
    """(size,) where a constant of this shape adds one number to each of `size` columns, else None."""
    if shape is None or any(extent != 1 for extent in shape[:-1]):
        return None
    return (size,) if not shape or shape[-1] in (1, size) else None


def unify(graph: gs.Graph, gemm: gs.Node) -> None:
    """Bring the attributes of a Gemm into its constants."""
    x, weight, bias = gemm.inputs[0], gemm.inputs[1], given(gemm, 2)
    attrs: dict[str, Any] = gemm.attrs
    if attrs.get("transA", 0):
        source = x
        x = variable(graph, f"{gemm.name}.transposed", source.dtype, (static_shape(source) or ())[::-1])
        append(graph, "Transpose", x.name, [source], x, {"perm": [1, 0]})
    if attrs.get("transB", 0):
        weight = transposed(graph, weight, f"{gemm.name}.weight")
    if attrs.get("alpha", 1.0) != 1:
        weight = constant(graph, f"{gemm.name}.weight", (weight.values * attrs["alpha"]).astype(weight.dtype))
    gemm.inputs = [x, weight, bias_of(graph, gemm.name, bias, weight, attrs.get("beta", 1.0))]
    gemm.attrs = {}


def bias_of(graph: gs.Graph, name: str, bias: gs.Tensor | None, weight: gs.Tensor, factor: float = 1.0) -> gs.Tensor:
    """A bias of shape [N] for weights [K, N]: the given one brought to it, or zeros."""
    size = columns(weight)
    if bias is None:
        return constant(graph, f"{name}.bias", np.zeros(size, weight.dtype))
    if static_shape(bias) == (size,) and factor == 1:
        return bias
    row = np.broadcast_to(bias.values.reshape(-1) * factor, (size,))
    return constant(graph, f"{name}.bias", row.astype(bias.dtype))


def find(graph: gs.Graph, matmul: gs.Node) -> MatrixProduct | str | None:
    """The MatMul and its bias, or why it stays; None for a product of two activations."""
    x, weight = matmul.inputs
    shape, result = static_shape(x), static_shape(matmul.outputs[0])
    if not is_parameter(weight):
        return "its constant is on the left" if is_parameter(x) else None
    if shape is None or result is None or len(shape) < 2:
        return f"its input has rank {len(shape or ())}"
    if len(static_shape(weight) or ()) != 2:
        return "its weights are a batch of matrices"
    if len(shape) > 2 and not isinstance(weight, gs.Constant):
        return "a Reshape would come between its input and the quantization of it"
    add, bias = find_bias(graph, matmul)
    return MatrixProduct(matmul, add, bias)


def find_bias(graph: gs.Graph, matmul: gs.Node) -> tuple[gs.Node | None, gs.Tensor | None]:
    """The Add of a constant per column behind the product, or nothing."""
    result = matmul.outputs[0]
    if not read_once(graph, result) or result.outputs[0].op != "Add":
        return None, None
    add = result.outputs[0]
    bias = next(tensor for tensor in add.inputs if tensor is not result)
    size = columns(matmul.inputs[1])
    if not is_parameter(bias) or static_shape(add.outputs[0]) != static_shape(result):
        return None, None
    if as_bias_shape(static_shape(bias), size) is None:
        return None, None
    if not isinstance(bias, gs.Constant) and static_shape(bias) != (size,):
        return None, None
    return add, bias


def rewrite(graph: gs.Graph, product: MatrixProduct) -> None:
    """Replace the pair by a Gemm, between Reshapes where the rank is not 2."""
    matmul, add, bias = product
    (x, weight), name = matmul.inputs, matmul.name
    result = (add or matmul).outputs[0]
    detach(matmul)
    if add is not None:
        detach(add)
    bias = bias_of(graph, name, bias, weight)
    shape = static_shape(x) or ()
    if len(shape) == 2:
        append(graph, "Gemm", name, [x, weight, bias], result)
        return
    flat = as_rows(graph, x, f"{name}.rows")
    rows, dtype = (static_shape(flat) or (0,))[0], result.dtype
    product_rows = variable(graph, f"{name}.product", dtype, (rows, columns(weight)))
    append(graph, "Gemm", name, [flat, weight, bias], product_rows)
    target = constant(graph, f"{name}.shape", np.array(static_shape(result), np.int64))
    append(graph, "Reshape", f"{name}.reshape", [product_rows, target], result)


def as_rows(graph: gs.Graph, tensor: gs.Tensor, name: str) -> gs.Variable:
    """`tensor` [..., K] as a matrix [M, K]."""
    *leading, last = static_shape(tensor) or (1,)
    shape = (prod(leading), last)
    result = variable(graph, name, tensor.dtype, shape)
    target = constant(graph, f"{name}.shape", np.array(shape, np.int64))
    append(graph, "Reshape", result.name, [tensor, target], result)
    return result
