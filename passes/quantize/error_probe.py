"""What changes of its weights do to a product's output, measured in the float model, all products in one run a sample.

    power = sum((dw x + db)**2)

Beside each product stand copies of it that read the same input and, in place of the weights, a change of them; only
the sums of squares of what the copies make leave the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.passes.exchange.export import export
from bevel.passes.graph.edit import producer
from bevel.passes.quantize.round_weights import ProductWeights

Change = tuple[NDArray[np.float32], NDArray[np.float32]]  # of the weights, of the bias: [out]
RANKING = frozenset(
    {"Softmax", "LogSoftmax", "ArgMax", "ArgMin", "Identity", "Reshape"}
)  # the results lie before these
Powers = tuple[float, dict[str, float]]  # of the product's output, and of what each change makes


@dataclass(frozen=True, eq=False)
class WeightChanges:
    """Changes of the weights of one product, by name."""

    weights: ProductWeights
    changes: Mapping[str, Change]


def error_powers(graph: gs.Graph, trials: Sequence[WeightChanges], runs: Runs) -> Iterator[Powers]:
    """Of each trial, summed over all of `runs`. graph: canonical and float; it stays as it is."""
    copy, sums = with_changes(graph, trials)
    names = [name for one in sums for name in one]
    session, outputs = session_with_outputs(export(copy), names)
    powers = dict.fromkeys(names, 0.0)
    for run, sample in enumerate(runs):
        found = run_model(session, outputs, {tensor.name: sample[tensor.name] for tensor in copy.inputs}, run)
        for name in names:
            powers[name] += float(found[name])
    for trial, (signal, *noises) in zip(trials, sums, strict=True):
        yield powers[signal], {name: powers[noise] for name, noise in zip(trial.changes, noises, strict=True)}


def with_changes(graph: gs.Graph, trials: Sequence[WeightChanges]) -> tuple[gs.Graph, list[list[str]]]:
    """A copy of `graph` that computes nothing but sums of squares, and their names: of each trial, that of its product
    and those of its changes."""
    copy = graph.copy()
    nodes = {node.name: node for node in copy.nodes}
    outputs = []
    for trial in trials:
        product = nodes[product_of(trial.weights).name]
        made = [changed(copy, product, trial.weights, name, change) for name, change in trial.changes.items()]
        outputs.append([squared(copy, one) for one in (product.outputs[0], *made)])
    copy.outputs = [one for trial in outputs for one in trial]
    return copy.cleanup().toposort(), [[one.name for one in trial] for trial in outputs]


def result_powers(
    graph: gs.Graph, trials: Sequence[WeightChanges], ways: Mapping[str, Sequence[Change]], runs: Runs
) -> dict[str, list[tuple[float, float]]]:
    """Of each of `ways`, which changes the weights of every trial: for each of the model's float results, before its
    Softmax, the power and that of its error, summed over `runs`."""
    plain, names = with_results(graph)
    if not names:
        return {way: [] for way in ways}
    sessions = {"": session_with_outputs(export(plain), names)}
    sessions |= {way: session_with_outputs(export(replaced(plain, trials, made)), names) for way, made in ways.items()}
    inputs = [tensor.name for tensor in plain.inputs]
    signals, noises = np.zeros(len(names)), {way: np.zeros(len(names)) for way in ways}
    for run, sample in enumerate(runs):
        given = {name: sample[name] for name in inputs}
        found = {way: run_model(*session, given, run) for way, session in sessions.items()}
        for place, name in enumerate(names):
            expected = found[""][name].astype(np.float64)
            signals[place] += float(np.square(expected).sum())
            for way in ways:
                noises[way][place] += float(np.square(found[way][name] - expected).sum())
    return {way: [*zip(signals.tolist(), noise.tolist(), strict=True)] for way, noise in noises.items()}


def with_results(graph: gs.Graph) -> tuple[gs.Graph, list[str]]:
    """A copy of `graph` that computes its float results alone, each before what only ranks or normalizes it."""
    copy = graph.copy()
    found: dict[str, gs.Tensor] = {}
    for tensor in copy.outputs:
        while (made := producer(tensor)) is not None and made.op in RANKING:
            tensor = made.inputs[0]
        if producer(tensor) is not None and tensor.dtype == np.float32:
            found[tensor.name] = tensor
    copy.outputs = list(found.values())
    return copy.cleanup().toposort(), list(found)


def replaced(graph: gs.Graph, trials: Sequence[WeightChanges], made: Sequence[Change]) -> gs.Graph:
    """A copy of `graph` with changed weights, and what its biases lack added behind the products."""
    copy = graph.copy()
    nodes = {node.name: node for node in copy.nodes}
    for trial, (of_weights, of_bias) in zip(trials, made, strict=True):
        product = nodes.get(product_of(trial.weights).name)
        if product is None:  # no result needs it
            continue
        name, tensor = f"{product.name}/rounded", trial.weights.tensor
        weights = gs.Constant(f"{name}/weights", (tensor.values + of_weights).astype(np.float32))
        product.inputs = [weights if one.name == tensor.name else one for one in product.inputs]
        result, summed = product.outputs[0], gs.Variable(f"{name}/sums", np.float32, product.outputs[0].shape)
        product.outputs = [summed]
        shift = gs.Constant(f"{name}/bias", of_bias.reshape(-1, *[1] * (of_weights.ndim - 2)))
        copy.nodes.append(gs.Node("Add", f"{name}/shift", {}, [summed, shift], [result]))
    return copy.cleanup().toposort()


def product_of(weights: ProductWeights) -> gs.Node:
    """The node that multiplies the weights: the one that was matched, or the MatMul before its Add."""
    node = weights.match.node
    before = (producer(tensor) for tensor in node.inputs)
    products = [node, *(one for one in before if one is not None and one.op == "MatMul")]
    return next(one for one in products if any(tensor is weights.tensor for tensor in one.inputs))


def changed(graph: gs.Graph, product: gs.Node, weights: ProductWeights, name: str, change: Change) -> gs.Variable:
    """What a copy of `product` with `change` in place of weights and bias makes."""
    of_weights, of_bias = change
    name = f"{product.name}/{name}"
    given = [
        gs.Constant(f"{name}/weights", of_weights) if tensor.name == weights.tensor.name else tensor
        for tensor in product.inputs[:2]
    ]
    positions = [1] * (of_weights.ndim - 2)
    shift = gs.Constant(f"{name}/bias", of_bias.reshape(-1, *positions))
    summed = gs.Variable(f"{name}/products", np.float32, product.outputs[0].shape)
    shifted = gs.Variable(f"{name}/shifted", np.float32, product.outputs[0].shape)
    graph.nodes += [
        gs.Node(product.op, name, dict(product.attrs), given, [summed]),
        gs.Node("Add", f"{name}/shift", {}, [summed, shift], [shifted]),
    ]
    return shifted


def squared(graph: gs.Graph, tensor: gs.Variable) -> gs.Variable:
    """The sum of the squares of all elements."""
    power = gs.Variable(f"{tensor.name}/power", np.float32, [])
    graph.nodes.append(gs.Node("ReduceSumSquare", power.name, {"keepdims": 0}, [tensor], [power]))
    return power


def multiplications(weights: ProductWeights) -> int:
    """How many a product takes for one run, a transposed convolution of strides at most."""
    shape: tuple[int, ...] = weights.tensor.values.shape
    return prod(map(int, product_of(weights).outputs[0].shape)) * prod(shape) // shape[weights.axis]
