"""What the report calls the format of a node."""

from __future__ import annotations

import pytest

from bevel.tools.report.nodes import described


@pytest.mark.parametrize("stored", ["int8", "int16", "int32"])
def test_a_node_is_described_by_its_format_whatever_integers_hold_it(stored: str) -> None:
    assert described(stored, "mxfp4") == "mxfp4"
    assert described(stored, None) == stored


def test_a_node_that_stayed_float_is_described_as_float() -> None:
    assert described("float32", "mxfp4") == "float32"
    assert described(None, None) is None
