"""Budgets as they are typed, and what is said of those that cannot be meant."""

from __future__ import annotations

import pytest

from bevel.backends.program.resources import Resources
from bevel.calib.errors import UserError
from bevel.passes.quantize.formats import weight_format
from bevel.tools.assign.kept import kept
from bevel.tools.report.report import Budget
from bevel.tools.run.budgets import (
    CANDIDATES,
    Budgets,
    check_budgets,
    parse_formats,
    parse_latency,
)


@pytest.mark.parametrize(
    ("text", "latency"),
    [
        ("2ms", ("latency", 0.002)),
        ("500 us", ("latency", 0.0005)),
        ("0.1s", ("latency", 0.1)),
        ("3Mi", ("instructions", 3_000_000)),
        ("2.5ki", ("instructions", 2_500)),
        ("3000000i", ("instructions", 3_000_000)),
    ],
)
def test_latency_is_seconds_or_a_decimal_count_of_instructions(text: str, latency: tuple[str, float]) -> None:
    assert dict(parse_latency(text)) == dict([latency])


@pytest.mark.parametrize("text", ["", "2", "0ms", "2mi", "-1ms", "3M", "ms"])
def test_other_latencies_are_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match="is no latency"):
        parse_latency(text)


def test_candidates_are_formats_each_once_in_the_order_given() -> None:
    assert parse_formats("int4, e2m1,int4") == ("int4", "e2m1")
    assert parse_formats(None) == CANDIDATES
    with pytest.raises(UserError, match="separated by commas"):
        parse_formats("int4,,int8")


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_default_candidate_is_a_format(name: str) -> None:
    assert weight_format(name).name == name


def test_accuracy_is_measured_or_not_promised() -> None:
    with pytest.raises(UserError, match="--eval FILE"):
        check_budgets(Budgets(drop=0.005), evaluation=False, formats=False)
    check_budgets(Budgets(drop=0.005), evaluation=True, formats=True)
    check_budgets(Budgets(Resources({"flash": 1024})), evaluation=False, formats=True)


def test_candidates_without_a_budget_are_refused() -> None:
    with pytest.raises(UserError, match="give it a budget"):
        check_budgets(Budgets(), evaluation=True, formats=True)


@pytest.mark.parametrize(
    ("option", "measured", "holds"),
    [
        ("--max-flash", 10.0, True),
        ("--max-flash", 10.5, False),
        ("--min-sqnr", 9.5, False),
        ("--min-sqnr", 10.0, True),
        ("--min-sqnr", None, True),
        ("--max-drop", 10.0 + 1e-12, True),
    ],
)
def test_a_budget_holds_up_to_its_limit(option: str, measured: float | None, holds: bool) -> None:
    assert kept(Budget(option, 10.0, measured, "")) == holds
