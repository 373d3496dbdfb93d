"""By which attention the rows of a product count: by the next one that reads what it makes, or the last one before it.

What is made of a token matters as far as other tokens look at it. Products that make queries, keys or values of an
attention are read by that one; those behind it, up to the next, by the next one, and behind the last one by the last.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_graphsurgeon as gs

from bevel.passes.quantize.product_rows import product_rows


def token_shares(graph: gs.Graph, products: Iterable[str]) -> dict[str, str]:
    """By the names of products: the tensor of shares, [..., queries, tokens], where each row of theirs is a token."""
    wanted = set(products)
    attentions = shares_read(graph)
    if not attentions:
        return {}
    ahead = first_ahead(graph, attentions)
    last = list(attentions.values())[-1]
    found: dict[str, str] = {}
    for node in graph.nodes:
        rows = product_rows(node) if node.name in wanted else None
        if rows is None:
            continue
        shares = ahead.get(node.outputs[0].name, last)
        shape = node.outputs[0].shape
        if shape is not None and rows.count(tuple(shape)) == shares.shape[-1]:
            found[node.name] = shares.name
    return found


def shares_read(graph: gs.Graph) -> dict[str, gs.Tensor]:
    """By the names of products of two activations, in order: the shares that one of them is, where it is one."""
    made = {node.outputs[0].name for node in graph.nodes if node.op == "Softmax"}
    found: dict[str, gs.Tensor] = {}
    for node in graph.nodes:
        if node.op == "MatMul" and node.inputs[0].name in made and len(node.inputs[0].shape or ()) > 1:
            found[node.name] = node.inputs[0]
    return found


def first_ahead(graph: gs.Graph, attentions: dict[str, gs.Tensor]) -> dict[str, gs.Tensor]:
    """By tensor: the shares of the first attention that reads it or what is made of it."""
    order = {shares.name: place for place, shares in enumerate(attentions.values())}
    found: dict[str, gs.Tensor] = {}
    for node in reversed(graph.nodes):
        ahead = [attentions[node.name]] if node.name in attentions else []
        ahead += [found[tensor.name] for tensor in node.outputs if tensor.name in found]
        if ahead:
            first = min(ahead, key=lambda shares: order[shares.name])
            for tensor in node.inputs:
                other = found.get(tensor.name, first)
                found[tensor.name] = min(first, other, key=lambda shares: order[shares.name])
    return found
