"""The character decoder: its file is what README.md says, its gradients are those of its loss, and it is what
exporters of decoders write."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bevel import optimize
from bevel.models import data, names, path, splits, topics
from bevel.models import decoder_training as training

README = (Path(__file__).parents[2] / "models" / "README.md").read_text()


def test_it_reads_text_and_is_none_of_the_networks_of_digits() -> None:
    assert names("topics") == ("decoder",) and "decoder" not in names()
    assert splits("topics") == ("calib", "eval")
    for split, count in topics.SPLITS.items():
        ids = topics.load(split)
        assert (ids.dtype, ids.shape) == (np.int64, (count, topics.TOKENS))
        assert ids.min() >= 0 and ids.max() < len(topics.CHARACTERS)
        assert data(split, "topics").stat().st_size < 10_000


def test_file_is_valid_small_and_as_good_as_the_readme_says() -> None:
    file = path("decoder")
    onnx.checker.check_model(onnx.load(file), full_check=True)
    found = re.search(r"^\| `decoder` \| (\d+) \| \d+ \| perplexity ([0-9.]+) \|", README, re.MULTILINE)
    assert found and int(found[1]) == file.stat().st_size < 1_000_000
    # a thousandth: float sums differ in order from CPU to CPU
    assert topics.perplexity(file, topics.load("eval")) == pytest.approx(float(found[2]), rel=1e-3)


def test_batch_and_tokens_are_open_and_later_tokens_change_no_earlier_logits() -> None:
    session = ort.InferenceSession(path("decoder"), providers=["CPUExecutionProvider"])
    ids = topics.load("eval")[:3]
    (whole,) = session.run(None, {"ids": ids})
    (part,) = session.run(None, {"ids": ids[:1, :20]})
    assert whole.shape == (3, topics.TOKENS, len(topics.CHARACTERS))
    np.testing.assert_allclose(part[0], whole[0, :20], atol=1e-4)  # logits are below 20


def test_it_is_spelled_as_exporters_of_decoders_do() -> None:
    model = onnx.load(path("decoder"))
    found = Counter(node.op_type for node in model.graph.node)
    layers = training.LAYERS
    assert (found["Softmax"], found["Where"], found["Sigmoid"], found["Expand"]) == (layers, layers, layers, 2 * layers)
    assert (found["Neg"], found["Sqrt"], found["Gather"]) == (2 * layers, 2 * layers + 1, 1)
    assert sum("embedding" in node.input for node in model.graph.node) == 2  # one table for both ends


def test_it_runs_in_integers_with_each_pattern_as_one_operator(tmp_path: Path) -> None:
    options = {"calib": str(data("calib", "topics")), "calib_samples": 4, "transform": "none", "vectors": 1}
    optimize(str(path("decoder")), target="cortex-m7", device="none", output=str(tmp_path / "out"), **options)
    found = Counter(node.op_type for node in onnx.load(tmp_path / "out" / "integer.onnx").graph.node)
    layers = training.LAYERS
    assert found["RotaryEmbedding"] == 2 * layers  # queries and keys
    assert found["MaskedSoftmax"] + found["MaskedWideSoftmax"] == layers
    assert found["Normalize"] == 2 * layers + 1
    assert found["DequantizeLinear"] == 1 and not found.keys() & {"Neg", "Sqrt", "Where", "Sigmoid", "Softmax", "Pow"}


def test_gradients_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    weights = {name: values.astype(np.float64) for name, values in training.initial().items()}
    ids = rng.integers(0, len(topics.CHARACTERS), (2, topics.TOKENS))
    _, gradients = training.loss_and_gradients(weights, ids)
    step = 1e-5
    for name, values in weights.items():
        direction = rng.standard_normal(values.shape)
        losses = []
        for side in (step, -step):
            moved = weights | {name: values + side * direction}
            losses.append(training.loss_and_gradients(moved, ids)[0])
        slope = (losses[0] - losses[1]) / (2 * step)
        # Tables of positions are float32, and the slope is that of a chord.
        assert float((gradients[name] * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-7)
