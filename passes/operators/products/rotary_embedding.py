"""Rotary position embedding (`rotation`): two products of each element, summed exactly and rounded once.

    y = requantize(own * (x - zx) + other * (partner - zx))

Coefficients are int16, as fine as leaves the sum of both products within int32: of codes of int8 the largest has 15
bits, of int16 both together have. Their steps depend on x's type alone, so that queries and keys of all layers share
them. Written as products and sums of their own, three tensors between would be rounded, too.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.backends.program.ops.rotary_embedding import RotaryEmbedding as RotaryEmbeddingKernel
from bevel.passes.operators.base import Activation, Array, Function, Match, Operator, Reason, Site
from bevel.passes.operators.bodies import OUTPUT_ATTRIBUTES, REQUANTIZE, constants
from bevel.passes.operators.lowering import Lowering
from bevel.passes.operators.products.rotation import Rotation, find_rotation
from bevel.passes.operators.widths import dtype_of, output_attributes, rescaling, stored_output

SUM_LIMIT = 2**31 - 1
LARGEST = 2**15 - 1
NUMBERS = ("x_zero_point", "multiplier", "shift")
PAIRS = ("outer", "inner")
# x [*lead, n], coefficients [*lead or 1, n, 2], partner: for each element the place of the other of its pair
BODY = f"""
{constants(*NUMBERS)}
  wide = Cast <to = 7> (x)
  steps = Sub (wide, x_zero_point)
  partners = Gather <axis = -1> (steps, partner)
  first = Constant <value_int = 0> ()
  second = Constant <value_int = 1> ()
  own16 = Gather <axis = -1> (coefficients, first)
  other16 = Gather <axis = -1> (coefficients, second)
  own = Cast <to = 7> (own16)
  other = Cast <to = 7> (other16)
  of_own = Mul (own, steps)
  of_other = Mul (other, partners)
  accumulator = Add (of_own, of_other)
{REQUANTIZE}
"""
ROTARY = Function("RotaryEmbedding", (*NUMBERS, *PAIRS, *OUTPUT_ATTRIBUTES), ("x", "coefficients", "partner"), BODY)


class RotaryEmbedding(Operator):
    float_ops: ClassVar[frozenset[str]] = frozenset()  # the last of several nodes
    functions: ClassVar = (ROTARY,)
    clamps: ClassVar = True
    wide: ClassVar = True

    def match(self, node: gs.Node) -> Match | Reason | None:
        found = find_rotation(node)
        if not isinstance(found, Rotation):
            return None
        # What makes coefficients may be that of several, and of nothing else.
        shared = (one for one in found.shared if makes_coefficients_alone(one, found))
        rows = tuple(one.inputs[1] for one in found.rows[:1])
        return Match(node, (found.x,), rows, (*found.inside, *shared))

    def integerize(self, site: Site) -> list[gs.Node] | Reason:
        x, found = site.inputs[0], find_rotation(site.node)
        if not isinstance(x, Activation) or not isinstance(found, Rotation):
            return Reason("its input is not quantized")
        if x.dtype not in ("int8", "int16"):
            return Reason("its input is wider than int16")
        codes, scale, reach = coefficients(found, x)
        ratio = rescaling(np.array(x.scale * scale / site.scale), reach)
        if isinstance(ratio, Reason):
            return ratio
        made, given = picked(site, found, codes)
        rows, lead, n = gs.Variable(f"{site.name}/rows", x.tensor.dtype), found.pairs.lead, found.pairs.n
        rows.shape = [*lead, n]
        turned = gs.Variable(f"{site.name}/turned", site.output.dtype, [*lead, n])
        partner = np.arange(n).reshape(-1, 2, found.pairs.inner)[:, ::-1].reshape(-1)
        attrs = dict(zip(NUMBERS, (x.zero_point, *map(int, ratio)), strict=True))
        attrs |= {"outer": found.pairs.outer, "inner": found.pairs.inner} | output_attributes(site.result)
        source, result = same_shape(x.tensor, rows), same_shape(site.output, turned)
        call = ROTARY.call(site.name, [source, given, site.constant("partner", partner)], attrs, result)
        return [*made, *reshape(site, x.tensor, source), call, *reshape(site, result, site.output)]

    def lower(self, node: gs.Node, lowering: Lowering) -> None:
        x, given = node.inputs[:2]
        axis = len(x.shape) - 1
        source, order = lowering.rows(x, axis)
        lead = tuple(place for place in order if place != axis)
        shape = tuple(x.shape[place] for place in lead)
        missing = len(x.shape) + 1 - len(given.shape)
        sizes = (1,) * missing + tuple(given.shape)
        inputs, tables = [source], []
        if isinstance(given, gs.Constant):
            values = lowering.constant(given).reshape(sizes).transpose(*lead, axis, axis + 1)
            tables = [np.ascontiguousarray(values).reshape(-1)]
        else:
            inputs.append(lowering.read(given, tuple(range(len(given.shape)))))
        kernel = RotaryEmbeddingKernel(
            shape,
            tuple(sizes[place] for place in lead),
            node.attrs["outer"],
            node.attrs["inner"],
            int(node.attrs["x_zero_point"]),
            int(node.attrs["multiplier"]),
            int(node.attrs["shift"]),
            stored_output(node),
            dtype_of(x),
            bool(tables),
        )
        lowering.emit(node, kernel, inputs, tables, node.outputs[0], order)


def makes_coefficients_alone(node: gs.Node, found: Rotation) -> bool:
    """Whether only products, and other makers of coefficients, read what a node makes."""
    within = {id(one) for one in found.shared}
    return all(reader.op == "Mul" or id(reader) in within for tensor in node.outputs for reader in tensor.outputs)


def coefficients(found: Rotation, x: Activation) -> tuple[list[Array], float, int]:
    """Codes of own and other at each position, int16 [*lead or 1, n, 2], their scale, and the largest sum."""
    reals = [np.stack(found.coefficients(position), axis=-1) for position in range(found.positions)]
    together = max(float(np.abs(one).sum(axis=-1).max()) for one in reals)
    largest = max(float(np.abs(one).max()) for one in reals)
    codes_of_type = 2 ** (8 * np.dtype(x.dtype).itemsize)
    scale = max(together / (SUM_LIMIT // codes_of_type - 1), largest / LARGEST)
    shape = np.broadcast_shapes(*(one.shape for one in reals))
    codes = [np.broadcast_to(np.rint(one / scale), shape).astype(np.int16) for one in reals]
    return codes, scale, x.reach * max(int(np.abs(one.astype(np.int64)).sum(axis=-1).max()) for one in codes)


def picked(site: Site, found: Rotation, codes: list[Array]) -> tuple[list[gs.Node], gs.Tensor]:
    """The coefficients: a constant, or the row of a table at the computed position, with the nodes that pick it."""
    if not found.rows:
        return [], site.constant("coefficients", codes[0])
    shape = list(codes[0].shape)
    table = site.constant("coefficients", np.stack(codes).reshape(len(codes), -1))
    position = site.others[0]
    flat = gs.Variable(f"{site.name}/row", np.int16, [*position.shape, table.values.shape[1]])
    given = gs.Variable(f"{site.name}/angle", np.int16, shape)
    to = site.constant("angle_shape", np.array(shape, np.int64))
    return [
        gs.Node("Gather", f"{site.name}/pick", {"axis": 0}, [table, position], [flat]),
        gs.Node("Reshape", f"{site.name}/shape_angle", {}, [flat, to], [given]),
    ], given


def same_shape(tensor: gs.Tensor, other: gs.Variable) -> gs.Tensor:
    """`tensor`, if it has the shape of `other`, else that."""
    return tensor if list(tensor.shape) == list(other.shape) else other


def reshape(site: Site, source: gs.Tensor, target: gs.Tensor) -> list[gs.Node]:
    """A Reshape between two tensors, unless they are one."""
    if source is target:
        return []
    shape = site.constant(f"shape_of_{target.name}", np.array(target.shape, np.int64))
    return [gs.Node("Reshape", f"{target.name}/reshape", {}, [source, shape], [target])]
