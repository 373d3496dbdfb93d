"""Class numbers: where the largest integer stands is where the largest real does, on every device."""

from typing import Any

import numpy as np
import pytest

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

VARIANTS = {
    "rows": ("ArgMax <axis = 1, keepdims = 0> (x)", "float[3,7] x"),
    "the last of equals": ("ArgMax <axis = -1, select_last_index = 1> (x)", "float[3,7] x"),
    "the smallest": ("ArgMin <axis = 1> (x)", "float[2,3,4,5] x"),
    "the smallest of rows, the last of equals": ("ArgMin <axis = 2, select_last_index = 1> (x)", "float[2,3,4] x"),
    "the default axis": ("ArgMax (x)", "float[5,4] x"),
}


@pytest.mark.parametrize("activations", ["int8", "int4", "int16", "e4m3"])
@pytest.mark.parametrize(("body", "inputs"), VARIANTS.values(), ids=VARIANTS)
def test_place_of_the_largest_is_the_same_everywhere(
    body: str, inputs: str, activations: str, text: Any, stages: Any, floats: Any
) -> None:
    options = QuantizeOptions(activations=activation_format(activations))
    made = stages(text(f"y = {body}", inputs, "int64[] y"), options=options, inputs="float")
    assert [call for call in made.calls if call.startswith("Float")] == []
    assert made.program.outputs[0].dtype == "int64"
    for sample in made.extremes():
        assert made.error(sample) == 0


def test_classifier_of_images_ends_in_class_numbers(text: Any, stages: Any, floats: Any) -> None:
    body = "c = Conv (x, w, b)\n i = ArgMax <axis = 1> (c)\n y = Squeeze (i, a)"
    weights = "float[5,3,3,3] w, float[5] b, int64[1] a"
    made = stages(text(body, outputs="int64[] y", weights=weights, values={"a": [1]}))
    assert floats(made.integer) == set()
    assert made.calls[-1] == "ArgMax"
    for sample in made.extremes():
        made.run(sample)


def test_class_numbers_of_floats_are_not_quantized(text: Any, stages: Any) -> None:
    made = stages(
        text("l = CumSum (x, k)\n y = ArgMax (l)", "float[3,4] x", "int64[] y", "int64 k", {"k": 1}), islands=True
    )
    assert "ArgMax" not in made.calls
    assert np.dtype(made.program.outputs[0].dtype) == np.int64
