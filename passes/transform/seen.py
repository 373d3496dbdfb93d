"""What calibration samples show of single tensors, for transforms: a few values of each channel, and whole tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs, spread_samples
from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.passes.transform.gauges import compact

SAMPLES = 16  # runs; channels of a tensor have many values in each
MEMORY = 256 * 2**20  # bytes of tensors that are held at a time
VALUES = 512  # of each channel, evenly spread, besides its extremes

Floats = NDArray[np.float32]


def see(graph: gs.Graph, names: Iterable[str], samples: Runs) -> dict[str, list[NDArray[Any]]]:
    """{tensor: its values in each run} of a float graph; of as many of the runs as fit in `MEMORY`, one at least."""
    wanted = list(dict.fromkeys(names))
    tensors = graph.tensors()
    size = sum(4 * prod(map(int, tensors[name].shape)) for name in wanted)
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    for arrays in runs_of(graph, wanted, spread_samples(samples, max(1, MEMORY // max(size, 1)))):
        for name in wanted:
            found[name].append(arrays[name])
    return found


def peaks(graph: gs.Graph, names: Iterable[str], samples: Runs) -> dict[str, NDArray[Any]]:
    """{tensor: the largest value of each of its elements} in all of the runs: of each tensor one array is held."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, NDArray[Any]] = {}
    for arrays in runs_of(graph, wanted, samples) if wanted else ():
        found |= {name: np.maximum(found.get(name, arrays[name]), arrays[name]) for name in wanted}
    return found


def runs_of(graph: gs.Graph, names: Sequence[str], samples: Runs) -> Iterator[Mapping[str, NDArray[Any]]]:
    """What the model computes of `names` in each run, and its inputs."""
    session, outputs = session_with_outputs(gs.export_onnx(graph, do_type_check=False), names)
    for run, sample in enumerate(samples):
        yield run_model(session, outputs, sample, run)


def values_of_places(arrays: Sequence[NDArray[Any]], places: NDArray[np.int64], count: int) -> Floats:
    """[count + 1, n]: about `VALUES` values of the elements at each place and, in the last row, of those at -1, with
    the least and the largest; NaN fills rows up. Those at -2 are left out. arrays: of each run, shaped as `places`."""
    rows = rows_of_channels(arrays, places, count) or rows_of_elements(arrays, places, count)
    picked = [thinned(one) for one in rows]
    found = np.full((count + 1, max(map(len, picked), default=0)), np.nan, np.float32)
    for place, one in enumerate(picked):
        found[place, : len(one)] = one
    return found


def rows_of_elements(arrays: Sequence[NDArray[Any]], places: NDArray[np.int64], count: int) -> list[NDArray[Any]]:
    """All values of each place, those of -1 last."""
    flat = np.stack([one.reshape(-1) for one in arrays], 1)
    where = places.reshape(-1)
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], np.arange(-1, count + 1))
    rows = [flat[order[first:last]].reshape(-1) for first, last in pairwise(starts)]
    return [*rows[1:], rows[0]]


def rows_of_channels(
    arrays: Sequence[NDArray[Any]], places: NDArray[np.int64], count: int
) -> list[NDArray[Any]] | None:
    """The same where places differ along one axis alone: a few values of each index and its extremes, unsorted."""
    small = compact(places)
    axis = int(np.argmax(small.shape)) if small.ndim else 0
    if not small.ndim or small.size != small.shape[axis] or small.size != places.shape[axis]:
        return None
    lines = [np.moveaxis(one, axis, 0).reshape(small.size, -1) for one in arrays]
    step = max(1, sum(one.shape[1] for one in lines) // VALUES)
    parts = [part for one in lines for part in (one[:, ::step], one.min(1, keepdims=True), one.max(1, keepdims=True))]
    every, where = np.concatenate(parts, 1), small.reshape(-1)
    return [every[where == place].reshape(-1) for place in (*range(count), -1)]


def channel_values(arrays: Sequence[NDArray[Any]], axis: int) -> Floats:
    """[channels, n]: likewise, of each channel along `axis`."""
    shape = arrays[0].shape
    channels = np.arange(shape[axis]).reshape([-1 if place == axis % len(shape) else 1 for place in range(len(shape))])
    return values_of_places(arrays, np.broadcast_to(channels, shape), shape[axis])[:-1]


def thinned(values: NDArray[Any]) -> NDArray[Any]:
    if len(values) <= VALUES:
        return values
    return np.concatenate([values[:: len(values) // VALUES], [values.min(), values.max()]])
