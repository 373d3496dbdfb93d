"""Weights whose integers pass int8, from their names to kernels: what a device computes is the QDQ model's result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import weight_format

NETWORK = """
  c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b)
  r = Relu (c)
  d = Conv <group = 8, pads = [1,1,1,1]> (r, v)
  e = Conv (d, p)
  g = GlobalAveragePool (e)
  f = Flatten (g)
  m = MatMul (f, t)
  y = Add (m, u)
"""
WEIGHTS = "float[8,3,3,3] w, float[8] b, float[8,1,3,3] v, float[72,8,1,1] p, float[72,5] t, float[5] u"
LINES = "c = Conv <pads = [2,0], strides = [2], dilations = [2], group = 2> (x, w)\n y = Conv (c, p)"
LINE_WEIGHTS = "float[8,40,3] w, float[5,8,1] p"

WIDE = ["e3m2", "e4m3", "log5", "int9", "int16", "nvfp4", "int4:block32", "int4:group32", "mxfp6e3m2"]


@pytest.mark.parametrize("name", WIDE)
def test_network_of_wide_weights_is_its_qdq_model(text: Any, stages: Any, floats: Any, name: str) -> None:
    made = stages(text(NETWORK, weights=WEIGHTS), options=QuantizeOptions(weights=weight_format(name)))
    assert "WideGemm" in made.ops
    assert floats(made.integer) == set()
    assert max(made.error(sample) for sample in made.extremes()) <= 1


@pytest.mark.parametrize("name", ["e3m2", "int4:block32"])
def test_lines_of_wide_weights_are_their_qdq_model(text: Any, stages: Any, name: str) -> None:
    model = text(LINES, "float[2,80,21] x", weights=LINE_WEIGHTS)
    made = stages(model, options=QuantizeOptions(weights=weight_format(name)))
    assert "WideConv" in made.ops
    assert max(made.error(sample) for sample in made.extremes()) <= 1


@pytest.mark.parametrize("name", ["e3m2", "int4:block16"])
@pytest.mark.parametrize("largest", [1e-20, 1e-9, 1e-6, 1e-3])
def test_channels_whose_products_are_nothing_beside_their_bias_compile(
    text: Any, stages: Any, name: str, largest: float
) -> None:
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((4, 32, 3, 3)), rng.standard_normal(4)
    w[:3] *= largest
    model = text(
        "y = Conv (x, w, b)", "float[1,32,5,5] x", weights="float[4,32,3,3] w, float[4] b", values={"w": w, "b": b}
    )
    made = stages(model, options=QuantizeOptions(weights=weight_format(name)))
    assert max(made.error(sample) for sample in made.extremes()) <= 1
    assert ("the weights of 3 output channels are left out" in str(made.notes)) == (largest < 1e-6)
    assert "have only zero weights" not in str(made.notes)


@pytest.mark.parametrize("name", ["e3m2", "int12", "e4m3"])
def test_transposed_convolution_of_wide_weights_is_exact(name: str, text: Any, stages: Any) -> None:
    model = text("y = ConvTranspose <strides = [2,2]> (x, w)", weights="float[3,4,2,2] w")
    made = stages(model, options=QuantizeOptions(weights=weight_format(name)))
    assert "ConvTranspose" in made.calls
    assert max(made.error(sample) for sample in made.extremes()) <= 1
