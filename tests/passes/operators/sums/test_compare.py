"""Truth values: comparisons of integers are those of the reals that they stand for, on every device."""

from typing import Any

import numpy as np
import pytest

from bevel.passes.quantize import QuantizeOptions
from bevel.passes.quantize.formats import activation_format

RELATIONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")


@pytest.mark.parametrize("activations", ["int8", "int16", "e4m3"])
@pytest.mark.parametrize("relation", RELATIONS)
def test_comparison_is_the_same_everywhere(relation: str, activations: str, text: Any, stages: Any) -> None:
    options = QuantizeOptions(activations=activation_format(activations))
    model = text(f"y = {relation} (x, z)", "float[2,3,4] x, float[3,1] z", "bool[] y")
    made = stages(model, options=options, inputs="float")
    assert made.calls[-1] == "Compare" and made.program.outputs[0].dtype == "bool"
    for sample in made.extremes():
        made.run(sample)


def test_comparison_with_a_constant_finds_what_the_float_model_finds(text: Any, stages: Any) -> None:
    model = text("y = Less (x, k)", "float[1,64] x", "bool[] y", "float k", {"k": 0.31})
    made = stages(model)
    (port,) = made.program.inputs
    codes = np.linspace(-128, 127, 64).astype(np.int8).reshape(1, 64)
    reals = (codes.astype(np.float64) - port.zero_point) * port.scale
    np.testing.assert_array_equal(made.run({"x": codes})["y"], reals < 0.31)


@pytest.mark.parametrize("activations", ["int8", "int16"])
def test_truth_values_choose_between_tensors_on_the_device(
    activations: str, text: Any, stages: Any, floats: Any
) -> None:
    body = "g = Greater (x, z)\n l = Less (x, k)\n a = Where (g, x, z)\n y = Where (l, k, a)"
    model = text(body, "float[1,3,4,5] x, float[1,3,4,5] z", weights="float k", values={"k": 0.4})
    made = stages(model, options=QuantizeOptions(activations=activation_format(activations)))
    assert floats(made.integer) == set()
    assert set(made.calls) == {"Compare", "Where"}
    for sample in made.extremes():
        made.run(sample)
