"""The integer nodes that make the input of a quantizer, or the reason there are none.

An operator between dequantized tensors becomes its integer form, a chain of element-wise functions becomes a
table, a change of scale becomes a table or a product. To the steps of a minifloat, sums are rounded in two parts: to
bits behind the point of a step, then as the format rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.power_softmax import STEPS
from bevel.calib.arithmetic.requantize import Output, RatioError
from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.passes.base import Note
from bevel.passes.graph.coded_constant import CodedConstant
from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import ROUND, Parameters, is_dequantize, is_quantize, parameters
from bevel.passes.graph.regions import Region, find_region, is_elementwise
from bevel.passes.integerize.coding import QuantizerCoding, coding
from bevel.passes.integerize.integerizer import PASS, Integerizer
from bevel.passes.operators import find_operator
from bevel.passes.operators.base import Activation, Array, Match, Operator, Reason, Result, Site, Weight
from bevel.passes.operators.formats.round_float import round_float
from bevel.passes.operators.functions.clip import clip
from bevel.passes.operators.functions.table import rescale, tabulate, wide_tabulate

TABLE_TYPES = frozenset({"int8", "int16"})


@dataclass(frozen=True)
class Ending:
    """Where a result goes: `codes`, coded as `coding` says, or first `sums`, which `rounding` makes codes of."""

    codes: gs.Variable
    coding: QuantizerCoding
    sums: gs.Variable

    def rounding(self) -> list[gs.Node]:
        if self.coding.steps is None:
            return []
        return [round_float(self.sums.name, self.sums, self.codes, self.coding.steps)]

    def of_codes(self, clamp: gs.Node | None = None) -> tuple[gs.Variable, float, Output]:
        """Tensor, scale and bounds of what moves codes; clamped as `clamp` does."""
        result = self.coding.output
        if clamp is not None:
            result = clamped(clamp, self.coding.scale, result, self.coding.steps)
        return self.codes, self.coding.scale, result

    def of_sums(self, clamp: gs.Node | None = None) -> tuple[gs.Variable, float, Output]:
        """Tensor, scale and bounds of what is computed; clamped as `clamp` does."""
        scale, result = self.coding.unrounded
        return self.sums, scale, result if clamp is None else clamped(clamp, scale, result)


def ending(quantizer: gs.Node, codes: gs.Variable) -> Ending:
    found = coding(quantizer)
    if found.steps is None:
        return Ending(codes, found, codes)
    sums = gs.Variable(f"{quantizer.inputs[0].name}{ROUND}", np.dtype(found.steps.fine_dtype), codes.shape)
    return Ending(codes, found, sums)


def integer_nodes(made: Integerizer, quantizer: gs.Node) -> list[gs.Node] | Reason | None:
    """Integer nodes that write the quantizer's codes; the reason there are none; None where floats come in."""
    tensor = quantizer.inputs[0]
    end = ending(quantizer, made.codes[quantizer.outputs[0].name])
    if tensor.name in made.reals:
        return on_another_scale(quantizer.name, made.reals[tensor.name], end)
    node = producer(tensor)
    if node is None:
        return None
    region = find_region(tensor, made.reals)
    if region is not None:
        return of_region(made, region, node, end)
    if is_clamp(node) and (inner := producer(node.inputs[0])) is not None and not is_dequantize(inner):
        match find_operator(inner):
            case (operator, match) if operator.clamps:
                return operator_nodes(made, operator, match, node.inputs[0], end, node)
    match find_operator(node):
        case (operator, match):
            return operator_nodes(made, operator, match, tensor, end)
        case reason:
            return reason


def index_nodes(made: Integerizer, node: gs.Node) -> list[gs.Node] | Reason | None:
    """Integer nodes for an operator whose result is no activation; None where it is another, or reads floats."""
    if node.outputs[0].dtype is None or np.dtype(node.outputs[0].dtype).kind == "f":
        return None
    match find_operator(node):
        case (operator, match) if operator.ends:
            inputs = tuple(found for tensor in match.inputs if (found := operand(made, tensor)) is not None)
            if len(inputs) == len(match.inputs):
                return operator.integerize(Site(node, inputs, made.other(node.outputs[0]), 1.0, Output()))
    return None


def on_another_scale(name: str, x: Activation, end: Ending, clamp: gs.Node | None = None) -> list[gs.Node] | Reason:
    """x's reals in the codes of `end`: a table of int8, a product of wider integers."""
    sums, scale, result = end.of_sums(clamp)
    return rounded(rescale(name, x, sums, scale, result), end)


def rounded(nodes: list[gs.Node] | Reason, end: Ending) -> list[gs.Node] | Reason:
    return nodes if isinstance(nodes, Reason) else [*nodes, *end.rounding()]


def of_region(made: Integerizer, region: Region, node: gs.Node, end: Ending) -> list[gs.Node] | Reason:
    """A function of one tensor, element by element, whose last node is `node`."""
    x = made.reals[region.root.name]
    alone = is_clamp(node) and node.inputs[0] is region.root
    if alone and (x.scale, x.zero_point, x.dtype) == (end.coding.scale, end.coding.zero_point, end.coding.dtype):
        return clip(Site(node, (x,), *end.of_codes(node)))
    narrow = (x.dtype, end.coding.dtype) == ("int8", "int8")
    if alone and not narrow:
        return on_another_scale(node.name, x, end, node)
    if end.coding.steps is not None or not {x.dtype, end.coding.dtype} <= TABLE_TYPES:
        return Reason(f"its function of {x.dtype} to {end.coding.dtype} would need a table; tables have codes to int16")
    if x.dtype == "int8":
        return tabulate(node.name, region, x, *end.of_codes(), made.source.opset)
    nodes, lines = wide_tabulate(node.name, region, x, *end.of_codes(), made.source.opset)
    size = f"{len(lines.ends)} lines, {lines.bytes} bytes"
    text = f"its table is {size}, and at most {lines.error:.2f} steps off"
    numbers = {"lines": len(lines.ends), "table_bytes": lines.bytes, "error_steps": float(lines.error)}
    made.notes.append(Note(PASS, node.name, "chosen", text, numbers))
    return nodes


def operator_nodes(
    made: Integerizer,
    operator: Operator,
    match: Match,
    made_by_it: gs.Tensor,
    end: Ending,
    clamp: gs.Node | None = None,
) -> list[gs.Node] | Reason:
    operands = [operand(made, tensor) for tensor in match.inputs]
    for tensor, found in zip(match.inputs, operands, strict=True):
        if found is None:
            return Reason(f"its input {tensor.name} is not quantized")
    inputs = tuple(found for found in operands if found is not None)
    if operator.joint:
        return joint_nodes(made, operator, match, inputs, made_by_it, end)
    index = [one is made_by_it for one in match.node.outputs].index(True)
    powers = operator.powers and end.coding.steps == STEPS
    target = end.of_codes(clamp) if operator.ties or powers else end.of_sums(clamp)
    others = tuple(made.other(tensor) for tensor in match.others)
    made.read += match.others
    site = Site(match.node, inputs, *target, index, end.coding.steps, others)
    if powers:
        return integerized(operator, site)
    if site.wide and not operator.wide and not (operator.wide_codes and all_codes(site)):
        return Reason(f"{match.node.op} has a kernel for int8 only; give it int8 activations, before and after")
    if not operator.ties:
        return rounded(integerized(operator, site), end)
    x = inputs[0]
    keeps = operator.rescales or site.keeps_quantization() or operator.requantizes(site)
    if keeps or not isinstance(x, Activation):
        return integerized(operator, site)
    # Other tools may quantize a moved tensor anew: move first, then change the scale.
    moved = gs.Variable(f"{end.codes.name}/moved", np.dtype(x.dtype), end.codes.shape)
    same = Output(x.zero_point, x.low, x.high, x.dtype)
    first = integerized(operator, Site(match.node, inputs, moved, x.scale, same, index))
    if isinstance(first, Reason):
        return first
    then = on_another_scale(f"{site.name}/rescale", replace(x, tensor=moved), end, clamp)
    return then if isinstance(then, Reason) else [*first, *then]


def joint_nodes(
    made: Integerizer,
    operator: Operator,
    match: Match,
    inputs: tuple[Activation | Weight | Array, ...],
    made_by_it: gs.Tensor,
    end: Ending,
) -> list[gs.Node] | Reason:
    """Of an operator that makes all of its outputs at once: for the first quantizer that asks. A second quantizer of
    one output changes the scale of what the first one got."""
    first = first_quantizer(made, made_by_it)
    if first is not None and end.codes is not (codes := made.codes[first.outputs[0].name]):
        return on_another_scale(f"{end.codes.name}/rescale", coding(first).activation(codes), end)
    if match.node.name in made.made:
        return []
    quantizers = [first_quantizer(made, tensor) for tensor in match.node.outputs]
    endings = [None if one is None else ending(one, made.codes[one.outputs[0].name]) for one in quantizers]
    results = tuple(None if one is None else Result(*one.of_sums()) for one in endings)
    wanted = next(one for one in results if one is not None)
    found = integerized(operator, Site(match.node, inputs, *wanted, results=results))
    if isinstance(found, Reason):
        return found
    made.made.add(match.node.name)
    return [*found, *(node for one in endings if one is not None for node in one.rounding())]


def first_quantizer(made: Integerizer, tensor: gs.Tensor) -> gs.Node | None:
    """The first quantizer in the order of the graph that reads an output; None where nobody does."""
    return next((node for node in tensor.outputs if is_quantize(node) and node.outputs[0].name in made.codes), None)


def integerized(operator: Operator, site: Site) -> list[gs.Node] | Reason:
    """The operator's integer form; there is none where its scales lie too far apart for a multiplier."""
    try:
        return operator.integerize(site)
    except RatioError as error:
        return Reason(str(error))


def all_codes(site: Site) -> bool:
    """Whether all that it reads and makes are int8 or int16, and every integer of its result is a code."""
    types = {one.dtype for one in site.inputs if isinstance(one, Activation)} | {site.result.dtype}
    return types <= TABLE_TYPES and site.steps is None


def operand(made: Integerizer, tensor: gs.Tensor) -> Activation | Weight | Array | None:
    """An operator's input in integers; None if it is float."""
    if isinstance(tensor, gs.Constant):
        return np.asarray(tensor.values)
    if tensor.name in made.reals:
        return made.reals[tensor.name]
    node = producer(tensor)
    if node is None or not is_dequantize(node) or not isinstance(node.inputs[0], gs.Constant):
        return None
    found = parameters(node)
    if found is None:
        return None
    return stored_weight(node.inputs[0], found)


def stored_weight(tensor: gs.Constant, found: Parameters) -> Weight | None:
    """The integers of stored weights, less their zero point; None where they are stored as floats."""
    if tensor.values.dtype.kind not in "iu":
        return None
    codes = np.asarray(tensor.values).astype(np.int64)
    axis = found.axis % max(codes.ndim, 1)
    zero_point = found.zero_point.astype(np.int64)
    if not zero_point.any():
        return Weight(codes, found.scale, axis, tensor.coded if isinstance(tensor, CodedConstant) else None)
    shape = [-1 if place == axis else 1 for place in range(codes.ndim)] if zero_point.ndim else []
    return Weight(codes - zero_point.reshape(shape), found.scale, axis)


def is_clamp(node: gs.Node) -> bool:
    return node.op in ("Relu", "Clip") and is_elementwise(node)


def clamped(node: gs.Node, scale: float, result: Output, steps: FloatSteps | None = None) -> Output:
    """`result` narrowed to what a Relu or Clip lets through: quantizing is monotonic, so clamping codes is the same."""
    bounds = [-np.inf, np.inf]
    if node.op == "Relu":
        bounds[0] = 0.0
    for place, tensor in enumerate(node.inputs[1:3]):
        if not tensor.is_empty():
            bounds[place] = float(np.ravel(tensor.values)[0])
    units = np.clip(np.array(bounds) / scale, -(2.0**31), 2.0**31)
    codes = np.rint(units) if steps is None else steps.round_float(units.astype(np.float32))
    low, high = (int(code) + result.zero_point for code in codes)
    return replace(result, low=min(max(low, result.low), result.high), high=max(min(high, result.high), result.low))
