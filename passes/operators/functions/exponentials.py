"""Exponentials of what rows of a Softmax are below their largest element, in operators, and the mask before them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.softmax import Mask as MaskKernel
from bevel.calib.arithmetic.softmax import ENTRY_BITS, FINE
from bevel.passes.operators.base import Activation, Array, Site
from bevel.passes.operators.bodies import constants_of
from bevel.passes.operators.functions.masks import Masked, find_masked, prefix_of
from bevel.passes.operators.lowering import Lowering, Order
from bevel.passes.operators.sums.elementwise import extended

MASK = ("lowest", "inverted")

# `x`, `coarse`, `fine`, `axes` -> int64 `distance` from the row's largest code, exponential `e`, `total`
EXPONENTIALS = f"""
  base = Constant <value_int = {FINE}> ()
  entry = Constant <value_int = {2**ENTRY_BITS}> ()
  half_entry = Constant <value_int = {2**ENTRY_BITS // 2}> ()
  steps = Cast <to = 6> (x)
  largest = ReduceMax (steps, axes)
  distance32 = Sub (largest, steps)
  distance = Cast <to = 7> (distance32)
  upper = Div (distance, base)
  lower = Mod (distance, base)
  coarse32 = Gather (coarse, upper)
  fine32 = Gather (fine, lower)
  coarse64 = Cast <to = 7> (coarse32)
  fine64 = Cast <to = 7> (fine32)
  product = Mul (coarse64, fine64)
  raised_product = Add (product, half_entry)
  e = Div (raised_product, entry)
  total = ReduceSum (e, axes)
"""


def with_mask(body: str) -> str:
    """`body` of what the mask keeps: `truths`, of which `inverted` are barred; `lowest` is the lowest code there is."""
    kept = f"""
{constants_of(onnx.TensorProto.INT32, "lowest")}
{constants_of(onnx.TensorProto.BOOL, "inverted")}
  keep = Xor (truths, inverted)
  codes = Cast <to = 6> (x)
  steps = Where (keep, codes, lowest)
"""
    whole = """
  nothing = Constant <value_int = 0> ()
  e = Where (keep, every, nothing)
  sum_of_row = ReduceSum (e, axes)
  empty = Equal (sum_of_row, nothing)
  least = Constant <value_int = 1> ()
  total = Where (empty, least, sum_of_row)
"""
    masked = body.replace("  steps = Cast <to = 6> (x)\n", kept).replace("  e = ", "  every = ")
    return masked.replace("  total = ReduceSum (e, axes)\n", whole)


def lowered_mask(
    node: gs.Node, lowering: Lowering, axis: int, order: Order
) -> tuple[MaskKernel, list[str], list[Array]]:
    """The mask of rows of x that lie in `order`: what comes in, or is constant."""
    x, truths = node.inputs[:2]
    rank, rows = len(x.shape), tuple(place for place in order if place != axis)
    shape, n = tuple(x.shape[place] for place in rows), x.shape[axis]
    if isinstance(truths, gs.Constant):
        keep = lowering.constant(truths)
        keep = (keep ^ bool(node.attrs["inverted"])).reshape((1,) * (rank - keep.ndim) + keep.shape)
        keep = keep.transpose(*rows, axis)
        keep = np.ascontiguousarray(np.broadcast_to(keep, (*keep.shape[:-1], n)))
        kept = prefix_of(keep)
        mask = MaskKernel(shape, keep.shape[:-1], n, prefix=kept is not None)
        return mask, [], [keep.reshape(-1) if kept is None else kept.reshape(-1)]
    value = lowering.reorder(extended(lowering.value(truths), rank), (*rows, axis), truths.name)
    mask_shape = tuple(value.shape[place] for place in rows)
    mask = MaskKernel(shape, mask_shape, n, constant=False, inverted=bool(node.attrs["inverted"]))
    return mask, [value.buffer], []


def mask_of(site: Site, x: Activation) -> tuple[list[gs.Tensor], dict[str, int]]:
    """The truth values of a site that has a mask, and the attributes of its function."""
    found = find_masked(site.node)
    if not isinstance(found, Masked):
        return [], {}
    truths = site.constant("keep", found.keep) if isinstance(found.keep, np.ndarray) else site.others[0]
    return [truths], {"lowest": x.low, "inverted": int(found.inverted)}


def factor_of(site: Site) -> float:
    found = find_masked(site.node)
    return found.factor if isinstance(found, Masked) else 1.0
