"""What nothing can compute is refused in one line that names its node; what looks like it is not."""

import numpy as np
import pytest

from bevel.calib.errors import UserError
from bevel.passes.canonicalize import canonicalize

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
        ("y = Clip (x, , nan)", "float[] y", r"\(Clip\) has a bound that is NaN"),
    ],
)
def test_it_is_refused_by_name(model, body, outputs, reason) -> None:
    subject = model(body, outputs=outputs, weights=f"{CUTS}, float nan, float one", values={**PLACES, "nan": np.nan})
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
