"""A network small enough to be built in a test, and samples for it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

SAMPLES = 12

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
tiny (float[N,2,6,6] image) => (float[N,3] scores)
{
    summed = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (image, kernel, offset)
    positive = Relu (summed)
    pooled = GlobalAveragePool (positive)
    flat = Flatten (pooled)
    scores = Gemm (flat, weights, bias)
}
"""
WEIGHTS = {"kernel": (4, 2, 3, 3), "offset": (4,), "weights": (4, 3), "bias": (3,)}


def tiny_model(text: str = TEXT) -> onnx.ModelProto:
    """The network with seeded weights; each node is named like what it computes."""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in WEIGHTS.items():
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def samples(count: int = SAMPLES) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "image": rng.standard_normal((count, 2, 6, 6)).astype(np.float32),
        "y": rng.integers(0, 3, count),
    }


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Signals count in a test as in a terminal, even where a job in the background or `nohup` ignores them."""
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in handlers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, handlers[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of a user's own files: model.onnx, calib.npz."""
    folder = tmp_path / "mine"
    folder.mkdir()
    onnx.save(tiny_model(), folder / "model.onnx")
    np.savez(folder / "calib.npz", allow_pickle=False, **samples())
    return folder


@pytest.fixture(scope="module")
def make_model() -> Callable[[str], onnx.ModelProto]:
    return tiny_model


@pytest.fixture(scope="module")
def make_samples() -> Callable[[int], dict[str, np.ndarray]]:
    return samples
