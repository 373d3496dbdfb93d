"""Outliers that are put in leave what a network computes, and are heard in its tensors."""

from __future__ import annotations

import numpy as np

from bevel.calib.observe.observe import run_model, session_with_outputs
from bevel.models import path
from bevel.passes.canonicalize import canonicalize, random_inputs
from bevel.passes.exchange.export import export
from bevel.passes.exchange.load import fix_batch, load
from bevel.tools.bench.transforms import FACTOR, louder

SEEN = "/blocks/blocks.0/attention/merged/MatMul.rows"  # what a normalization makes and a product reads


def test_louder_channels_change_ranges_and_nothing_else() -> None:
    graph, _ = canonicalize(fix_batch(load(path("vit"), ()).model, 1, {}))
    names = [SEEN, graph.outputs[0].name]
    sample = random_inputs(export(graph), 0)
    before = run_model(*session_with_outputs(export(graph), names), sample, 0)
    after = run_model(*session_with_outputs(export(louder(graph)), names), sample, 0)
    found, wanted = (one[names[1]] for one in (after, before))
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())  # float32, scaled by 30 and back
    ratio = np.abs(after[SEEN]).max(0) / np.abs(before[SEEN]).max(0)
    assert sorted(np.round(ratio, 3).tolist()) == [1.0] * 30 + [FACTOR] * 2
