"""The work of a float network, counted by hand."""

from __future__ import annotations

from pathlib import Path

from bevel.tools.bench.macs import network_macs


def test_convolutions_and_products_are_counted_at_batch_one(inputs: Path) -> None:
    convolution = 4 * 6 * 6 * (2 * 3 * 3)  # four channels of 6x6, each from 2x3x3
    product = 4 * 3
    assert network_macs(inputs / "model.onnx") == convolution + product
