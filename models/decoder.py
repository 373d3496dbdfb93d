"""A small decoder of characters: two blocks of six heads that share two of keys and values, 48 channels.

Llama's block (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation Language Models", section 2.2): RMSNorm before
attention and feed-forward network, rotary positions, SwiGLU, one table for what goes in and what comes out; keys and
values in groups as in Ainslie et al. 2023, "GQA", section 2.2. Trained by `decoder_training` in numpy on the text of
`topics`, and written as exporters of such networks write it: normalizations and SiLU by their parts, positions by
`rotate_half` and tables that are cut to the tokens there are, heads repeated by Expand, the mask by a Where.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bevel.models import digits, topics
from bevel.models.decoder_training import EPSILON, GROUPS, HEADS, LAYERS, WIDTH, rotary_tables, trained

BARRED = float(np.finfo(np.float32).min)
MOST = 4 * topics.TOKENS  # tokens that the tables of positions have room for
OPSET = 17
Arrays = Mapping[str, NDArray[np.float32]]


class Writer:
    """Nodes of a graph, one after the other; each is named for what it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def whole(self, *values: int) -> str:
        """A constant list of int64."""
        return self.constant(f"whole_{'_'.join(map(str, values))}".replace("-", "minus"), values, np.int64)

    def cut(self, name: str, x: str, first: str, end: str, axis: int) -> str:
        return self.node("Slice", name, x, first, end, self.whole(axis))


def graph(weights: Arrays) -> onnx.GraphProto:
    """ids: int64 [batch, tokens]; logits: float32 [batch, tokens, characters]."""
    w = Writer()
    for name, values in weights.items():
        w.constant(name, values)
    tokens = w.cut("tokens", w.node("Shape", "shape_of_ids", "ids"), w.whole(1), w.whole(2), 0)
    for name, values in zip(("cos", "sin"), rotary_tables(MOST), strict=True):
        w.cut(name, w.constant(f"{name}_table", values), w.whole(0), tokens, 0)
    places = w.cut("places", w.constant("all_places", np.arange(MOST), np.int64), w.whole(0), tokens, 0)
    w.node("LessOrEqual", "seen", places, w.node("Unsqueeze", "rows", places, w.whole(1)))
    x = w.node("Gather", "embedded", "embedding", "ids")
    for layer in range(LAYERS):
        mixed = attention(w, norm(w, x, f"first{layer}"), layer)
        x = w.node("Add", f"mixed{layer}", x, mixed)
        x = w.node("Add", f"fed{layer}", x, feed_forward(w, norm(w, x, f"second{layer}"), layer))
    turned = w.node("Transpose", "embedding_turned", "embedding", perm=[1, 0])
    w.node("MatMul", "logits", norm(w, x, "last"), turned)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "tokens"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "tokens", len(topics.CHARACTERS)])
    return helper.make_graph(w.nodes, "decoder", [ids], [logits], list(w.constants.values()))


def norm(w: Writer, x: str, name: str) -> str:
    squares = w.node("Pow", f"{name}_squares", x, w.constant("two", 2.0))
    mean = w.node("ReduceMean", f"{name}_mean", squares, axes=[-1], keepdims=1)
    raised = w.node("Add", f"{name}_raised", mean, w.constant("epsilon", EPSILON))
    root = w.node("Sqrt", f"{name}_root", raised)
    scaled = w.node("Div", f"{name}_scaled", x, root)
    return w.node("Mul", f"{name}_normed", scaled, f"{name}_gain")


def attention(w: Writer, x: str, layer: int) -> str:
    q, k, v = (
        heads(w, w.node("MatMul", f"{name}{layer}", x, f"{name}{layer}_weights"), count)
        for name, count in (("q", HEADS), ("k", GROUPS), ("v", GROUPS))
    )
    q, k = rotated(w, q), rotated(w, k)
    k, v = (repeated(w, one) for one in (k, v))
    k = w.node("Transpose", f"{k}_turned", k, perm=[0, 1, 3, 2])
    scores = w.node("MatMul", f"scores{layer}", q, k)
    scores = w.node("Mul", f"scaled{layer}", scores, w.constant("scale", WIDTH**-0.5))
    scores = w.node("Where", f"masked{layer}", "seen", scores, w.constant("barred", BARRED))
    shares = w.node("Softmax", f"shares{layer}", scores, axis=-1)
    together = w.node("MatMul", f"together{layer}", shares, v)
    together = w.node("Transpose", f"by_token{layer}", together, perm=[0, 2, 1, 3])
    together = w.node("Reshape", f"joined{layer}", together, w.whole(0, 0, HEADS * WIDTH))
    return w.node("MatMul", f"out{layer}", together, f"out{layer}_weights")


def heads(w: Writer, x: str, count: int) -> str:
    cut = w.node("Reshape", f"{x}_heads", x, w.whole(0, 0, count, WIDTH))
    return w.node("Transpose", f"{x}_by_head", cut, perm=[0, 2, 1, 3])


def rotated(w: Writer, x: str) -> str:
    """x * cos + rotate_half(x) * sin"""
    lower = w.cut(f"{x}_lower", x, w.whole(0), w.whole(WIDTH // 2), 3)
    upper = w.cut(f"{x}_upper", x, w.whole(WIDTH // 2), w.whole(2**31 - 1), 3)
    turned = w.node("Concat", f"{x}_half", w.node("Neg", f"{x}_negative", upper), lower, axis=-1)
    own, other = w.node("Mul", f"{x}_cos", x, "cos"), w.node("Mul", f"{x}_sin", turned, "sin")
    return w.node("Add", f"{x}_rotated", own, other)


def repeated(w: Writer, x: str) -> str:
    """Each head of keys or values for every query that shares it."""
    grouped = w.node("Unsqueeze", f"{x}_grouped", x, w.whole(2))
    each = w.node("Expand", f"{x}_each", grouped, w.whole(1, 1, HEADS // GROUPS, 1, 1))
    return w.node("Reshape", f"{x}_repeated", each, w.whole(0, HEADS, -1, WIDTH))


def feed_forward(w: Writer, x: str, layer: int) -> str:
    gate, up = (w.node("MatMul", f"{name}{layer}", x, f"{name}{layer}_weights") for name in ("gate", "up"))
    gated = w.node("Mul", f"silu{layer}", gate, w.node("Sigmoid", f"sigmoid{layer}", gate))
    return w.node("MatMul", f"down{layer}", w.node("Mul", f"hidden{layer}", gated, up), f"down{layer}_weights")


def build() -> onnx.ModelProto:
    """The trained network as ONNX, with batch and tokens left open."""
    return helper.make_model(graph(trained()), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


if __name__ == "__main__":
    digits.script(lambda: topics.write_network("decoder", build))
