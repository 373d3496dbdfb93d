"""What attention costs beside convolutions: equal sizes, ratios, and counts of a simulated core."""

from __future__ import annotations

import pytest

from bevel.backends import target as targets
from bevel.backends.devices.find import available
from bevel.tools.bench.attention import PARTS, AttentionShape, Cost, attentions, measured


@pytest.mark.parametrize("shape", list(attentions()), ids=lambda one: f"{one.name} {one.scores}")
def test_products_have_the_multiplications_and_results_of_their_convolutions(shape: AttentionShape) -> None:
    parts = shape.parts()
    for part in ("scores", "values"):
        product, convolution = parts[part], parts[f"{part} as a convolution"]
        assert product.macs == convolution.macs == shape.macs
        assert product.operands()[-1].size == convolution.operands()[-1].size


def test_ratios_are_of_what_is_multiplied() -> None:
    cost = Cost(AttentionShape("a", 1, 2, 3, 4), dict(zip(PARTS, (30.0, 6.0, 20.0, 24.0, 10.0), strict=True)))
    assert cost.per_mac("scores") == 30 / 24
    assert cost.ratio("scores", "softmax") == 36 / 24
    assert cost.ratio("scores", "softmax", "values") == 56 / 34


def test_a_core_counts_every_part() -> None:
    if available(targets.load("cortex-m7")) is None:
        pytest.skip("no device here runs a Cortex-M7")
    cost = measured(AttentionShape("small", 2, 5, 20, 8), "cortex-m7")
    assert set(cost.spent) == set(PARTS)
    assert all(amount > 0 for amount in cost.spent.values())
