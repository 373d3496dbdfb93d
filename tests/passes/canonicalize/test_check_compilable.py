"""What nothing can compute is refused in one line that names its node; what looks like it is not."""

import numpy as np
import pytest

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize, check_finite_outputs

CUTS = "int64[1] nine, int64[1] ten, int64[1] three"
PLACES = {"nine": [9], "ten": [10], "three": [3]}


@pytest.mark.parametrize(
    ("body", "outputs", "reason"),
    [
        (
            "y = Slice (x, nine, ten, three)",
            "float[] y",
            r"\(Slice\) gives y of shape \[1, 3, 8, 0\]: dimension 3 is 0",
        ),
        ("e = Slice (x, nine, ten, three)\n y = Relu (e)", "float[] y", "dimension 3 is 0"),
        (
            "y, z = MaxPool <kernel_shape = [2,2], storage_order = 1> (x)",
            "float[] y, int64[] z",
            r"\(MaxPool\) gives its indices as z, which no target computes",
        ),
        ("p, z = MaxPool <kernel_shape = [2,2]> (x)\n y = Cast <to = 1> (z)", "float[] y", "gives its indices as z"),
        ("t = Cast <to = 8> (x)\n y = Cast <to = 1> (t)", "float[] y", "gives t, a tensor of strings"),
        ("q = QuantizeLinear (x, nan)\n y = DequantizeLinear (q, nan)", "float[] y", "has the scale nan"),
        (
            "z = Sub (one, one)\n q = QuantizeLinear (x, z)\n y = DequantizeLinear (q, z)",
            "float[] y",
            "has the scale 0.0",
        ),
        ("y = Clip (x, inf)", "float[] y", r"\(Clip\) has a bound that is NaN, or infinite on the wrong side"),
        ("i = Neg (inf)\n y = Clip (x, , i)", "float[] y", r"\(Clip\) has a bound that is NaN, or infinite"),
        ("y = Clip (x, , nan)", "float[] y", r"\(Clip\) has a bound that is NaN"),
    ],
)
def test_it_is_refused_by_name(model, body, outputs, reason) -> None:
    values = {**PLACES, "nan": np.nan, "inf": np.inf}
    subject = model(body, outputs=outputs, weights=f"{CUTS}, float nan, float one, float inf", values=values)
    with pytest.raises(UserError, match=reason) as caught:
        canonicalize(subject)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "e = Slice (x, nine, ten, three)\n y = Concat <axis = 3> (e, x, e)",
        "y, z = MaxPool <kernel_shape = [2,2]> (x)",
        "y = Clip (x, one, minus)",
    ],
)
def test_what_can_do_without_is_compiled(model, body) -> None:
    weights = f"{CUTS}, float one, float minus"
    graph, _ = canonicalize(model(body, weights=weights, values={**PLACES, "one": 1.0, "minus": -1.0}))
    assert len(graph.nodes) == 1


def test_a_model_that_answers_with_infinities_is_the_users_to_put_right(model) -> None:
    with pytest.raises(UserError, match="output y of the model as it was given holds -inf"):
        check_finite_outputs(model("y = Log (x)"), [{"x": np.zeros((1, 3, 8, 8), np.float32)}])
