"""Outliers that are put in leave what a network computes, and are heard in its tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from numpy.typing import NDArray

from bevel import models
from bevel.calib.data.dataset import Runs, open_dataset
from bevel.calib.observe.observe import model_inputs, run_model, session_with_outputs
from bevel.passes.canonicalize import canonicalize
from bevel.passes.exchange.export import export
from bevel.passes.exchange.load import fix_batch, load
from bevel.passes.transform.rotate_stream import covariance
from bevel.passes.transform.seen import see
from bevel.passes.transform.stream import ResidualStream, find_streams
from bevel.tools.bench.outliers import FACTOR, concentrated, louder

SEEN = "/blocks/blocks.0/attention/merged/MatMul.rows"  # what a normalization makes and a product reads


@pytest.fixture(scope="module")
def vit() -> tuple[gs.Graph, Runs]:
    model = fix_batch(load(models.path("vit"), ()).model, 1, {})
    graph, _ = canonicalize(model)
    return graph, open_dataset({"image": np.load(models.data("calib"))["image"][:8]}, model_inputs(model))


def channels(graph: gs.Graph, samples: Runs) -> tuple[NDArray[Any], NDArray[Any]]:
    """How far each channel of `SEEN` reaches, and the model's outputs."""
    names = [SEEN, graph.outputs[0].name]
    opened = session_with_outputs(export(graph), names)
    found = [run_model(*opened, sample, run) for run, sample in enumerate(samples)]
    reach = np.max([np.abs(one[SEEN]).reshape(-1, one[SEEN].shape[-1]).max(0) for one in found], 0)
    return reach, np.stack([one[names[1]] for one in found])


@pytest.mark.parametrize("put", [louder, concentrated], ids=["hidden", "stream"])
def test_outliers_leave_the_function(vit: Any, put: Callable[..., gs.Graph]) -> None:
    graph, samples = vit
    _, wanted = channels(graph, samples)
    _, found = channels(changed(put, graph, samples), samples)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())  # float32, scaled by 30 and back


def test_a_few_hidden_channels_are_louder_and_the_others_as_they_were(vit: Any) -> None:
    graph, samples = vit
    ratio = channels(louder(graph.copy()), samples)[0] / channels(graph, samples)[0]
    assert sorted(np.round(ratio, 3).tolist()) == [1.0] * 30 + [FACTOR] * 2


def test_a_stream_in_its_principal_axes_has_loud_channels(vit: Any) -> None:
    graph, samples = vit
    before, after = (loudest(one, samples) for one in (graph, concentrated(graph.copy(), samples)))
    assert after > 2 * before


def loudest(graph: gs.Graph, samples: Runs) -> float:
    """How much louder the loudest channel is than most, behind all normalizations of the residual stream."""
    (stream,) = find_streams(graph)
    assert isinstance(stream, ResidualStream)
    found = covariance(stream, see(graph, [norm.x.name for norm in stream.norms], samples))
    power = np.diag(found)
    return float(np.sqrt(power.max() / np.median(power)))


def changed(put: Callable[..., gs.Graph], graph: gs.Graph, samples: Runs) -> gs.Graph:
    return put(graph.copy()) if put is louder else put(graph.copy(), samples)
