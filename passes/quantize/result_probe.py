"""What changed weights do to the model's results: the float model, with weights and biases that are fed to it.

    error of a sample = sum over results of |changed - float|**2 / P,     P = sum over samples of |float|**2

All results count alike, however large they are. They are taken before what only ranks or normalizes them (Softmax,
ArgMax). Activations stay float: what is seen are the errors of the weights alone, as they add up or cancel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.passes.exchange.export import export
from bevel.passes.graph.edit import producer
from bevel.passes.quantize.error_probe import Change, Fold, WeightChanges, product_of

RANKING = frozenset(
    {"Softmax", "LogSoftmax", "ArgMax", "ArgMin", "Identity", "Reshape"}
)  # the results lie before these

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class KnownRun:
    """given: inputs of the model; results: what the float model makes of them; fold: whose biases judge it."""

    fold: int
    given: Arrays
    results: Arrays


@dataclass(frozen=True, eq=False)
class ResultProbe:
    """session: the float model that takes weights and biases of the folds' products; powers: of each result, over all
    samples; exact: the weights that change nothing."""

    session: ort.InferenceSession
    folds: Sequence[Fold]
    samples: Sequence[KnownRun]
    powers: Mapping[str, float]
    exact: Arrays

    def errors(self, way: Sequence[str]) -> Iterator[float]:
        """Of each sample, in turn, with the weights of each product changed as `way` names it."""
        fed = [feeds(fold.changes, way) for fold in self.folds]
        names = list(self.powers)
        for run, sample in enumerate(self.samples):
            weights = {name: fed[sample.fold][name] for name in self.exact}
            found = run_model(self.session, names, {**sample.given, **weights}, run)
            yield sum(squared(found[name] - sample.results[name]) / power for name, power in self.powers.items())


def open_probe(graph: gs.Graph, folds: Sequence[Fold]) -> ResultProbe | None:
    """None for a model without float results. graph: canonical and float; it stays as it is."""
    plain, names = with_results(graph)
    if not names:
        return None
    inputs = [tensor.name for tensor in plain.inputs]
    changeable, exact = with_fed_weights(plain, folds[0].changes)
    session, _ = session_with_outputs(export(changeable), names)
    samples, powers = [], dict.fromkeys(names, 0.0)
    for place, fold in enumerate(folds):
        for run, one in enumerate(fold.runs):
            given = {name: one[name] for name in inputs}
            found = run_model(session, names, {**given, **exact}, run)
            samples.append(KnownRun(place, given, {name: found[name] for name in names}))
            for name in names:
                powers[name] += squared(found[name])
    return ResultProbe(session, folds, samples, {name: power or 1.0 for name, power in powers.items()}, exact)


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


def floats_of(graph: gs.Graph) -> int:
    """How many numbers a sample and its results are."""
    return sum(prod(map(int, tensor.shape)) for tensor in chain(graph.inputs, graph.outputs))


def with_fed_weights(plain: gs.Graph, trials: Sequence[WeightChanges]) -> tuple[gs.Graph, Arrays]:
    """A copy of `plain` that takes the weights of all of `trials` as inputs, and what is added behind their products;
    and what to feed it to be the same."""
    copy, exact = plain.copy(), dict[str, NDArray[Any]]()
    nodes = {node.name: node for node in copy.nodes}
    for place, trial in enumerate(trials):
        product = nodes.get(product_of(trial.weights).name)
        if product is None:  # no result needs it
            continue
        names, values = feed_names(place), trial.weights.tensor.values
        _, of_bias = next(iter(trial.changes.values()))
        exact |= zip(names, (values, np.zeros(shift_shape(values, of_bias), np.float32)), strict=True)
        weights, shift = (gs.Variable(name, np.float32, exact[name].shape) for name in names)
        product.inputs = [weights if one.name == trial.weights.tensor.name else one for one in product.inputs]
        result, summed = product.outputs[0], gs.Variable(f"{names[1]}/sums", np.float32, product.outputs[0].shape)
        product.outputs = [summed]
        copy.nodes.append(gs.Node("Add", names[1], {}, [summed, shift], [result]))
        copy.inputs += [weights, shift]
    return copy.cleanup().toposort(), exact


def feeds(trials: Sequence[WeightChanges], way: Sequence[str]) -> Arrays:
    """Weights and shifts of each product, changed as `way` names it."""
    found = dict[str, NDArray[Any]]()
    for place, (trial, name) in enumerate(zip(trials, way, strict=True)):
        found |= zip(feed_names(place), changed(trial.weights.tensor.values, trial.changes[name]), strict=True)
    return found


def changed(values: NDArray[np.float32], change: Change) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    of_weights, of_bias = change
    return (values + of_weights).astype(np.float32), of_bias.reshape(shift_shape(values, of_bias))


def shift_shape(values: NDArray[np.float32], of_bias: NDArray[np.float32]) -> tuple[int, ...]:
    """That of one number a channel, beside the positions of a product."""
    return (of_bias.size, *[1] * (values.ndim - 2))


def feed_names(place: int) -> tuple[str, str]:
    return f"rounded/{place}/weights", f"rounded/{place}/shift"


def squared(values: NDArray[np.float32]) -> float:
    return float(np.square(values.astype(np.float64)).sum())
