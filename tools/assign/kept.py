"""What the finished product takes of each budget, and that it keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bevel.backends.program.resources import Resource, Resources
from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.metric import TOP1, Metric
from bevel.tools.report.report import Budget, Measurement, Report
from bevel.tools.report.report import Metric as Figures
from bevel.tools.run.budgets import Budgets

ROUNDING = 1e-9  # of fractions that are differences of fractions


def with_budgets(budgets: Budgets, report: Report) -> Report:
    """`report` with what its product takes of each budget."""
    if report.assignment is None:
        return report
    return replace(report, assignment=replace(report.assignment, budgets=tuple(described(budgets, report))))


def described(budgets: Budgets, report: Report) -> Iterator[Budget]:
    for name, limit in budgets.costs.only(Resource.FLASH, Resource.RAM).items():
        yield Budget(f"--max-{name}", limit, report.size.product.get(name), name.unit)
    if budgets.work and report.measurement is not None:
        yield latency(budgets.work, report.measurement)
    accuracy = report.accuracy
    if accuracy is None:
        return
    if accuracy.metric is not None:
        yield from of_metric(budgets, accuracy.metric)
    if budgets.sqnr is not None:
        yield Budget("--min-sqnr", budgets.sqnr, accuracy.sqnr_db, "dB")


def of_metric(budgets: Budgets, found: Figures) -> Iterator[Budget]:
    metric = Metric(found.name, found.unit, found.better == "higher", found.share)
    if budgets.accuracy is not None:
        unit = "fraction" if metric == TOP1 else found.name
        yield Budget("--min-accuracy", budgets.accuracy, found.integer, unit)
    if budgets.drop is not None:
        known = found.float_ is not None and found.integer is not None
        lost = 100 * metric.loss(found.float_ or 0.0, found.integer or 0.0) if known else None
        yield Budget("--max-drop", 100 * budgets.drop, lost, metric.loss_unit)


def latency(budget: Resources, measured: Measurement) -> Budget:
    """Seconds of a simulator are its estimate, and called that."""
    if Resource.INSTRUCTIONS in budget:
        spent = measured.spent.get(Resource.INSTRUCTIONS)
        return Budget("--max-latency", budget[Resource.INSTRUCTIONS], spent, "instructions")
    limit, spent = budget[Resource.LATENCY], measured.spent.get(Resource.LATENCY)
    if spent is None and measured.estimate is not None:
        return Budget("--max-latency", limit, measured.estimate.latency_s, "seconds, estimated")
    return Budget("--max-latency", limit, spent, "seconds")


def check_kept(report: Report) -> None:
    """Raises UserError for a budget that the product as measured does not keep."""
    for budget in report.assignment.budgets if report.assignment is not None else ():
        if not kept(budget):
            raise UserError(
                f"{budget.option} {budget.limit:g}: the product as measured has {budget.measured:g} ({budget.unit}), "
                f"though the search found it to fit; leave some room"
            )


def kept(budget: Budget) -> bool:
    """A value that is not there (SQNR without any error, a device that computed wrongly) breaks no budget."""
    if budget.measured is None:
        return True
    if budget.option.startswith("--min"):
        return budget.measured >= budget.limit - ROUNDING
    return budget.measured <= budget.limit + ROUNDING
