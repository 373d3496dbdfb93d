"""The schedule of a product is its folding: words of weights and beats of windows are read off it."""

from typing import Any

import numpy as np
import pytest

from bevel.backends.fpga.nest import ProductShape, Unrolled, order, scheduled
from bevel.backends.tir.lazy import loaded

DENSE, BY_CHANNEL = ProductShape(5, (3, 2), 4, 6), ProductShape(5, (3, 2), 6, 6, depthwise=True)


def test_a_beat_has_rows_of_the_kernel_and_channels_and_a_word_their_weights_for_each_output() -> None:
    found = order(DENSE, Unrolled(2, 3, 2))
    assert found.weights.shape == (12, 12) and found.elements.shape == (4, 6)
    x = np.arange(24).reshape(3, 2, 4)
    np.testing.assert_array_equal(found.elements[0], x[:, 0, :2].reshape(-1))
    np.testing.assert_array_equal(found.elements[1], x[:, 0, 2:].reshape(-1))
    w = np.arange(144).reshape(6, 3, 2, 4)
    np.testing.assert_array_equal(found.weights[0], w[:2, :, 0, :2].reshape(-1))
    np.testing.assert_array_equal(found.weights[4], w[2:4, :, 0, :2].reshape(-1))


def test_depthwise_beats_have_the_channels_of_a_row_beside_each_other() -> None:
    found = order(BY_CHANNEL, Unrolled(3, 1, 1))
    x = np.arange(36).reshape(3, 2, 6)
    np.testing.assert_array_equal(found.elements[0], x[0, 0, :3])
    np.testing.assert_array_equal(found.elements[1], x[1, 0, :3])
    np.testing.assert_array_equal(found.elements[6], x[0, 0, 3:])


@pytest.mark.parametrize("shape", [DENSE, BY_CHANNEL], ids=["dense", "depthwise"])
@pytest.mark.parametrize("factors", [Unrolled(1, 1, 1), Unrolled(3, 3, 1)], ids=["one", "nine"])
def test_every_weight_has_one_place_in_the_memory(shape: ProductShape, factors: Unrolled) -> None:
    found = order(shape, factors).weights
    assert sorted(found.reshape(-1)) == list(range(found.size))


@pytest.mark.parametrize("shape", [DENSE, BY_CHANNEL], ids=["dense", "depthwise"])
def test_the_scheduled_nest_compiled_by_llvm_sums_as_numpy_does(shape: ProductShape) -> None:
    tvm = loaded("tvm")
    rng = np.random.default_rng(0)
    rows = (shape.windows, *shape.kernel, shape.channels_in)
    x = rng.integers(-128, 128, rows, dtype=np.int8)
    last = () if shape.depthwise else (shape.channels_in,)
    w = rng.integers(-128, 128, (shape.channels_out, *shape.kernel, *last), dtype=np.int8)
    function: Any = tvm.compile(scheduled(shape, Unrolled(2, 3, 1)), target="llvm")["main"]
    made = tvm.runtime.tensor(np.zeros((shape.windows, shape.channels_out), np.int32), tvm.cpu())
    function(tvm.runtime.tensor(x, tvm.cpu()), tvm.runtime.tensor(w, tvm.cpu()), made)
    spelled = "vyxc,cyx->vc" if shape.depthwise else "vyxc,nyxc->vn"
    np.testing.assert_array_equal(made.numpy(), np.einsum(spelled, x.astype(np.int32), w.astype(np.int32)))
