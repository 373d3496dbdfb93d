"""The list of what runs in integers says only what is so."""

from typing import Any

import pytest

from bevel.passes.graph.regions import ONE_INPUT
from bevel.passes.partition.listed_operators import listed_operators

NEWER = {"Swish": 24}  # since which opset, where that is more than 21
# Mean and spread of calibration data where a function is finite; elsewhere 0 and 1
DOMAINS = dict.fromkeys(("Acos", "Asin", "Atanh"), (0.2, 0.1)) | dict.fromkeys(
    ("Acosh", "Log", "Reciprocal", "Sqrt"), (4.0, 0.3)
)


@pytest.mark.parametrize("op", sorted(ONE_INPUT))
def test_every_function_of_one_tensor_becomes_a_table(
    op: str, text: Any, stages: Any, floats: Any, around: Any
) -> None:
    model = text(f"y = {op} (x)", "float[2,3,4] x", opset=NEWER.get(op, 21))
    made = stages(model, around(model, *DOMAINS.get(op, (0.0, 1.0))))
    assert floats(made.integer) == set()
    for sample in made.extremes():
        made.run(sample)


def test_an_operator_stands_in_the_list_once() -> None:
    named = [op for row in listed_operators() for op in row.ops]
    assert len(named) == len(set(named))
