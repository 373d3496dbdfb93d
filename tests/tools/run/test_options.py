from __future__ import annotations

import pytest

from bevel.calib.errors import UserError
from bevel.calib.rounding import rounder
from bevel.calib.scales import ranges
from bevel.tools.run.options import RANGE_METHODS, ROUNDINGS
from bevel.tools.run.parsers import dims, parse_size


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("64k", 65536), ("64KB", 65536), ("2M", 2 << 20), ("1MiB", 1 << 20)]
)
def test_sizes_are_bytes_kibibytes_or_mebibytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "64q", "1.5M", "k"])
def test_other_sizes_are_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match="not a memory size"):
        parse_size(text)


def test_dims_keep_their_order_and_may_hold_an_equals_sign() -> None:
    assert dims(("seq=256", "a=b=2")) == (("seq", 256), ("a=b", 2))


@pytest.mark.parametrize("text", ["seq", "seq=", "=3", "seq=0", "seq=x"])
def test_other_dims_are_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match="--dim"):
        dims((text,))


@pytest.mark.parametrize("name", RANGE_METHODS)
def test_every_range_method_of_the_command_line_exists(name: str) -> None:
    assert ranges.range_method(name)


def test_every_rounder_can_be_asked_for() -> None:
    assert ROUNDINGS[0] == "auto"
    assert [rounder(name).name for name in ROUNDINGS[1:]] == [
        "adaround",
        "coordinate-descent",
        "flexround",
        "gptq",
        "kernel-wise",
        "min-max",
        "nearest",
        "refit",
    ]
