"""How scales of channels flow through a graph, from the constants that take them up to those that undo them.

Every channel that a linear node, a normalization or a constant makes gets a scale of its own. Operators hand it on,
tie it to others, or ask that it be 1:

    moves (Reshape, Transpose, Slice, Split, Concat, Tile, ...)     are run on labels in place of numbers
    Relu, LeakyRelu, PRelu, Abs, MaxPool, averages: f(s x) = s f(x)    hand it on
    Add, Sub, Max, Min, Where                                       tie what they join
    x * y                                                           the scale of one, where the other's is 1
    sum over k of q[k] k[k]                                         the scales of both are inverse to each other
    sum over k of p[k] v[k, n], scales of p are 1                   v's are the same for all k
    Clip from 0, if it is asked to let scales through               hands it on, and is listed
    all else, ports of the model, weights that two nodes read        1

So every spelling of a head, a pair of rotated channels or a shared residual stream comes to the same: what is left free
may be chosen, and the graph computes what it did. The positive homogeneity of Relu is Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import given, is_output, scalar, static_shape
from bevel.passes.operators.sums.reduced import reduced_axes
from bevel.passes.transform.gauges import ONE, Gauges, Labels
from bevel.passes.transform.moved import MOVES, moved
from bevel.passes.transform.uses import (
    LINEAR,
    ConstantUse,
    LinearUse,
    NormUse,
    PairUse,
    Use,
    has_plain_bias,
)

HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "Abs", "Neg", "Identity", "Dropout"})
JOINING = frozenset({"Add", "Sub", "Sum", "Max", "Min", "Mean", "Where"})
POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize"})
REDUCTIONS = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"})
NORMS = frozenset({"LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization"})


@dataclass
class Flow:
    """labels: of each float tensor that is not all 1; uses: what takes scales up; gains: nodes that multiply what bears
    no scale by a constant, which then takes one up; blocked: near misses, a node and why it lets no scale through;
    readers: how many inputs of nodes read each constant; opens: whether clamps let scales through; clips: those that
    did, which is right only for what stays below their bounds (`bound_of`)."""

    graph: gs.Graph
    gains: frozenset[str] = frozenset()
    gauges: Gauges = field(default_factory=Gauges)
    labels: dict[str, Labels] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    blocked: list[tuple[str, str]] = field(default_factory=list)
    readers: Counter[str] = field(default_factory=Counter)
    opens: bool = False
    clips: list[gs.Node] = field(default_factory=list)

    def of(self, tensor: gs.Tensor) -> Labels:
        return self.labels.get(tensor.name, np.broadcast_to(np.int64(ONE), static_shape(tensor) or ()))

    def pin(self, *tensors: gs.Tensor) -> None:
        for tensor in tensors:
            if tensor.name in self.labels:
                self.gauges.tie(self.labels[tensor.name], np.broadcast_to(np.int64(ONE), self.of(tensor).shape))

    def make(self, tensor: gs.Tensor, labels: Labels) -> None:
        """Give a tensor its labels, spread over its shape."""
        self.labels[tensor.name] = np.broadcast_to(labels, static_shape(tensor) or ())
        if is_output(self.graph, tensor):
            self.pin(tensor)

    def alone(self, tensor: gs.Tensor) -> bool:
        """Whether a constant is one node's own."""
        return self.readers[tensor.name] == 1


def find_flow(graph: gs.Graph, opens: bool = False) -> Flow:
    """`graph`: canonical and float, nodes in execution order."""
    first = walked(graph, frozenset(), opens)
    gains = frozenset(node.name for node in graph.nodes if node.op == "Mul" and takes_scale(first, node))
    return walked(graph, gains, opens) if gains else first


def walked(graph: gs.Graph, gains: frozenset[str], opens: bool) -> Flow:
    flow = Flow(graph, gains, opens=opens)
    flow.readers.update(one.name for node in graph.nodes for one in node.inputs if isinstance(one, gs.Constant))
    for node in graph.nodes:
        rule_of(node)(flow, node)
    return flow


def takes_scale(flow: Flow, node: gs.Node) -> bool:
    """Whether a Mul multiplies a tensor that bears no scale by a constant for each channel: a gain written apart."""
    split = with_constant(node)
    if split is None:
        return False
    x, index = split
    gain = node.inputs[index]
    return gain.values.size > 1 and flow.alone(gain) and x.dtype == np.float32 and flow.gauges.is_one(flow.of(x))


def with_constant(node: gs.Node) -> tuple[gs.Tensor, int] | None:
    """The one activation that a node of two inputs reads, and the place of the constant beside it."""
    places = [place for place, one in enumerate(node.inputs) if isinstance(one, gs.Constant)]
    if len(node.inputs) != 2 or len(places) != 1:
        return None
    return node.inputs[1 - places[0]], places[0]


def rule_of(node: gs.Node) -> Callable[[Flow, gs.Node], None]:
    if node.domain not in (None, "", "ai.onnx") or not node.outputs or node.outputs[0].dtype != np.float32:
        return fix
    for operators, rule in RULES:
        if node.op in operators:
            return rule
    return fix


def fix(flow: Flow, node: gs.Node) -> None:
    """What it reads bears no scale, nor does what it makes."""
    free = any(one.name in flow.labels and not flow.gauges.is_one(flow.of(one)) for one in node.inputs)
    if free and node.op == "Clip":
        flow.blocked.append((node.name, "channels before it keep their scales: they have its bounds in common"))
    elif node.op in LINEAR and isinstance(node.inputs[1], gs.Constant) and not flow.alone(node.inputs[1]):
        flow.blocked.append((node.name, "channels around it keep their scales: another node has its weights, too"))
    flow.pin(*node.inputs)


# Constants that take scales up


def linear(flow: Flow, node: gs.Node) -> None:
    """Conv, ConvTranspose, and Gemm without attributes, by weights of its own."""
    weights = node.inputs[1]
    plain = node.op != "Gemm" or not any(node.attrs.get(name, usual) != usual for name, usual in GEMM)
    own = isinstance(weights, gs.Constant) and flow.alone(weights) and weights.values.dtype == np.float32
    if not (plain and own and has_plain_bias(node)) or isinstance(node.inputs[0], gs.Constant):
        return fix(flow, node)
    x, y = flow.of(node.inputs[0]), node.outputs[0]
    axis = x.ndim - 1 if node.op == "Gemm" else 1
    reads = flow.gauges.tie_along(x, [one for one in range(x.ndim) if one != axis]).reshape(-1)
    makes = flow.gauges.fresh(int(y.shape[axis]))
    flow.uses.append(LinearUse(node, reads, makes))
    flow.make(y, makes if node.op == "Gemm" else makes.reshape(-1, *[1] * (x.ndim - 2)))


GEMM = (("alpha", 1.0), ("beta", 1.0), ("transA", 0), ("transB", 0))


def norm(flow: Flow, node: gs.Node) -> None:
    """Its input bears no scale; its gain takes one up, and its bias with it."""
    parts = [one for one in node.inputs[1:] if not one.is_empty()]
    alike = len({one.values.shape if isinstance(one, gs.Constant) else None for one in parts}) == 1
    if not alike or not isinstance(parts[0], gs.Constant) or len(node.outputs) != 1:
        return fix(flow, node)
    gain, shape = parts[0].values, static_shape(node.outputs[0]) or ()
    last = node.op in ("LayerNormalization", "RMSNormalization")
    if not last and gain.shape != shape[1:2]:  # a gain for each group
        return fix(flow, node)
    flow.pin(node.inputs[0])
    makes = flow.gauges.fresh(*gain.shape)
    spread = makes if last else makes.reshape(-1, *[1] * (len(shape) - 2))
    flow.uses.append(NormUse(node, makes))
    flow.make(node.outputs[0], spread)


def multiply(flow: Flow, node: gs.Node) -> None:
    split = with_constant(node)
    if split is not None and node.name in flow.gains and flow.gauges.is_one(flow.of(split[0])):  # no gain before it
        makes = flow.gauges.fresh(*node.inputs[split[1]].values.shape)
        flow.uses.append(ConstantUse(node, split[1], makes))
        return flow.make(node.outputs[0], makes)
    if split is not None:
        return flow.make(node.outputs[0], flow.of(split[0]))
    left, right = map(flow.of, node.inputs)
    if not flow.gauges.is_one(left) and not flow.gauges.is_one(right):
        flow.pin(node.inputs[1])
    flow.make(node.outputs[0], right if flow.gauges.is_one(left) else left)


def divide(flow: Flow, node: gs.Node) -> None:
    flow.pin(node.inputs[1])
    flow.make(node.outputs[0], flow.of(node.inputs[0]))


# What joins scales


def join(flow: Flow, node: gs.Node) -> None:
    """Activations and constants that meet place by place bear the same scale."""
    y, values = node.outputs[0], node.inputs[1:] if node.op == "Where" else node.inputs
    shape = static_shape(y) or ()
    constants = [(place, one) for place, one in enumerate(node.inputs) if isinstance(one, gs.Constant)]
    constants = [(place, one) for place, one in constants if any(one is value for value in values)]
    if any(one.values.dtype != np.float32 for _, one in constants):
        return fix(flow, node)
    found = [np.broadcast_to(flow.of(one), shape) for one in values if not isinstance(one, gs.Constant)]
    if not found:
        return None
    for other in found[1:]:
        flow.gauges.tie(found[0], other)
    for place, one in constants:
        take_up(flow, node, place, one, found[0])
    return flow.make(y, found[0])


def take_up(flow: Flow, node: gs.Node, place: int, constant: gs.Constant, labels: Labels) -> None:
    """Let a constant bear the labels of what it is joined with: the same where it is spread over them."""
    values = constant.values
    if not np.any(values):
        return  # zeros bear any scale
    shape = (1,) * (labels.ndim - values.ndim) + values.shape
    spread = [axis for axis, size in enumerate(shape) if size == 1 and labels.shape[axis] > 1]
    makes = flow.gauges.tie_along(labels, spread).reshape(values.shape)
    flow.uses.append(ConstantUse(node, place, makes))


def pair(flow: Flow, node: gs.Node) -> None:
    """A product of two activations: attention's scores, and what its shares make of the values."""
    if any(isinstance(one, gs.Constant) or len(one.shape) < 2 for one in node.inputs):
        return fix(flow, node)
    left, right = map(flow.of, node.inputs)
    y, gauges = node.outputs[0], flow.gauges
    if gauges.is_one(left):
        return flow.make(y, gauges.tie_along(right, [right.ndim - 2]))
    if gauges.is_one(right):
        return flow.make(y, gauges.tie_along(left, [left.ndim - 1]))
    channels = gauges.tie_along(left, [left.ndim - 2])
    others = gauges.tie_along(right, [right.ndim - 1])
    gauges.tie(np.swapaxes(channels, -1, -2), others ^ 1)
    flow.uses.append(PairUse(node, left, right))
    return None


# What hands scales on


def hand_on(flow: Flow, node: gs.Node) -> None:
    flow.make(node.outputs[0], flow.of(node.inputs[0]))


def clip(flow: Flow, node: gs.Node) -> None:
    """From 0 to a constant above it: what a scale keeps below that is clamped as it was."""
    low = given(node, 1)
    if not flow.opens or low is None or scalar(low) != 0 or bound_of(node) <= 0:
        return fix(flow, node)
    flow.clips.append(node)
    return hand_on(flow, node)


def bound_of(clip: gs.Node) -> float:
    """What a Clip lets nothing get above, if that is a constant above 0; else 0."""
    high = given(clip, 2)
    return max(0.0 if high is None else scalar(high) or 0.0, 0.0)


def pool(flow: Flow, node: gs.Node) -> None:
    """Windows run along all axes but the first two."""
    x = flow.of(node.inputs[0])
    same = tuple(node.inputs[0].shape[:2]) == tuple(node.outputs[0].shape[:2])
    if node.op == "Resize" and not (same and node.attrs.get("extrapolation_value", 0.0) == 0.0):
        return fix(flow, node)
    return flow.make(node.outputs[0], flow.gauges.tie_along(x, range(2, x.ndim)))


def reduce(flow: Flow, node: gs.Node) -> None:
    axes = reduced_axes(node)
    if axes is None:
        return fix(flow, node)
    found = flow.gauges.tie_along(flow.of(node.inputs[0]), axes)
    kept = [size for axis, size in enumerate(found.shape) if axis not in axes or node.attrs.get("keepdims", 1)]
    return flow.make(node.outputs[0], found.reshape(kept))


def slopes(flow: Flow, node: gs.Node) -> None:
    if not isinstance(node.inputs[1], gs.Constant):
        flow.pin(node.inputs[1])
    hand_on(flow, node)


def move(flow: Flow, node: gs.Node) -> None:
    """The labels go where the elements go; constants in a Concat get some of their own."""
    given_labels = []
    for place, one in enumerate(node.inputs):
        if node.op == "Concat" and isinstance(one, gs.Constant):
            makes = flow.gauges.fresh(*one.values.shape)
            flow.uses.append(ConstantUse(node, place, makes))
            given_labels.append(makes)
        else:
            given_labels.append(flow.of(one))
    found = moved(node, given_labels)
    if found is None:
        return fix(flow, node)
    for tensor, labels in zip(node.outputs, found, strict=True):
        flow.make(tensor, labels)
    return None


RULES: tuple[tuple[frozenset[str], Callable[[Flow, gs.Node], None]], ...] = (
    (LINEAR, linear),
    (NORMS, norm),
    (frozenset({"Mul"}), multiply),
    (frozenset({"Div"}), divide),
    (JOINING, join),
    (frozenset({"MatMul"}), pair),
    (HOMOGENEOUS, hand_on),
    (frozenset({"Clip"}), clip),
    (POOLS, pool),
    (REDUCTIONS, reduce),
    (frozenset({"PRelu"}), slopes),
    (MOVES, move),
)
