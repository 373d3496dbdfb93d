"""Embeddings: rows of a table, picked by indices that come in as integers."""

from typing import Any

import numpy as np
import pytest

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

BODY = "e = Gather (table, tokens)\n m = ReduceMean <keepdims = 0> (e, a)\n y = Gemm (m, w)"
WEIGHTS = "float[11,8] table, int64[1] a, float[8,3] w"


def tokens(dtype: str = "int64", seed: int = 0) -> dict[str, Any]:
    return {"tokens": np.random.default_rng(seed).integers(-11, 11, (2, 5)).astype(dtype)}


@pytest.mark.parametrize("activations", ["int8", "int4", "int16", "e4m3"])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_rows_of_a_table_are_the_same_everywhere(
    dtype: str, activations: str, text: Any, stages: Any, floats: Any
) -> None:
    model = text(BODY, f"{dtype}[2,5] tokens", weights=WEIGHTS, values={"a": [1]})
    options = QuantizeOptions(activations=activation_format(activations))
    made = stages(model, [tokens(dtype, seed) for seed in range(4)], options, outputs="quantized")
    assert "Lookup" in made.calls
    if activations == "int8":
        assert floats(made.integer) == set()
    for seed in range(3):
        made.run(tokens(dtype, seed))


def test_lookup_is_near_the_quantized_model(text: Any, stages: Any) -> None:
    model = text("y = Gather (table, tokens)", "int64[2,5] tokens", weights="float[11,8] table")
    made = stages(model, [tokens(seed=seed) for seed in range(4)])
    for seed in range(3):
        assert made.error(tokens(seed=seed)) == 0


def test_lookup_along_another_axis_stays_float_and_says_why(text: Any, stages: Any) -> None:
    model = text("y = Gather <axis = 1> (table, tokens)", "int64[2,5] tokens", weights="float[3,11] table")
    made = stages(model, [tokens(seed=seed) for seed in range(4)], islands=True)
    assert "another axis" in made.node_notes("y")
