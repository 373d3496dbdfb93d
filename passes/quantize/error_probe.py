"""What changes of its weights do to a product's output, measured in the float model, all products in one run a sample.

    power = sum((dw x + db)**2)

Beside each product stand copies of it that read the same input and, in place of the weights, a change of them; only
the sums of squares of what the copies make leave the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Subset
from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.passes.exchange.export import export
from bevel.passes.graph.edit import producer
from bevel.passes.quantize.round_weights import ProductWeights

Change = tuple[NDArray[np.float32], NDArray[np.float32]]  # of the weights, of the bias: [out]
Powers = tuple[float, dict[str, float]]  # of the product's output, and of what each change makes


@dataclass(frozen=True, eq=False)
class WeightChanges:
    """Changes of the weights of one product, by name."""

    weights: ProductWeights
    changes: Mapping[str, Change]


@dataclass(frozen=True, eq=False)
class Fold:
    """Some of the samples, and the changes of each product with biases that have not seen them."""

    runs: Subset
    changes: Sequence[WeightChanges]

    def thinned(self, count: int) -> Fold:
        """With at most `count` of its samples, evenly spread."""
        places = self.runs.places
        kept = tuple(places[place * len(places) // count] for place in range(count)) if count < len(places) else places
        return replace(self, runs=Subset(self.runs.runs, kept))


def error_powers(graph: gs.Graph, folds: Sequence[Fold]) -> list[Powers]:
    """Of each product, summed over all runs. graph: canonical and float; it stays as it is."""
    found = [fold_powers(graph, fold) for fold in folds]
    return [added(of_product) for of_product in zip(*found, strict=True)]


def added(powers: Sequence[Powers]) -> Powers:
    names = powers[0][1]
    return sum(signal for signal, _ in powers), {name: sum(noise[name] for _, noise in powers) for name in names}


def fold_powers(graph: gs.Graph, fold: Fold) -> list[Powers]:
    copy, sums = with_changes(graph, fold.changes)
    names = [name for one in sums for name in one]
    session, outputs = session_with_outputs(export(copy), names)
    powers = dict.fromkeys(names, 0.0)
    for run, sample in enumerate(fold.runs):
        found = run_model(session, outputs, {tensor.name: sample[tensor.name] for tensor in copy.inputs}, run)
        for name in names:
            powers[name] += float(found[name])
    return [
        (powers[signal], {name: powers[noise] for name, noise in zip(trial.changes, noises, strict=True)})
        for trial, (signal, *noises) in zip(fold.changes, sums, strict=True)
    ]


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
