"""Budgets in the resources that the cost model has, and what a product really takes of them."""

from __future__ import annotations

from collections.abc import Sequence

from bevel.backends.devices.base import Measurement
from bevel.backends.program.resources import Resource, Resources, told
from bevel.calib.errors import UserError
from bevel.tools.assign.search import Everywhere, Search
from bevel.tools.assign.trial import Maker, Trial
from bevel.tools.run.budgets import WORK, Budgets

NEARLY_ALL = 0.995


def limits_of(budgets: Budgets, search: Search) -> Resources:
    """Flash and RAM are also limited by what the target has. Where results have a choice of formats and RAM no budget,
    it is what the product takes where nobody chooses.

    Raises UserError for a latency in a unit that nothing here measures or estimates.
    """
    asked, there = (one.only(Resource.FLASH, Resource.RAM) for one in (budgets.costs, search.maker.target.limits))
    if any(site.part == "result" for site in search.problem.sites):
        asked = Resources({Resource.RAM: unchanged_ram(search)}) | asked
    smaller = {name: min(amount, there.get(name, amount)) for name, amount in asked.items()}
    return there | smaller | work_limit(budgets, search.uniforms, search.maker)


def unchanged_ram(search: Search) -> float:
    """The most that the products take whose results have the format that they have where nobody chooses."""
    problem, base = search.problem, search.uniforms[0].assignment
    results = [place for place, site in enumerate(problem.sites) if site.part == "result"]
    same = [one for one in search.uniforms if all(one.assignment[place] == base[place] for place in results)]
    return max(one.figures.takes[Resource.RAM] for one in same)


def work_limit(budgets: Budgets, uniforms: Sequence[Everywhere], maker: Maker) -> Resources:
    """The budget of one inference as the device counts: a simulator's seconds are so many of its instructions."""
    if not budgets.work:
        return budgets.work
    if maker.device is None:
        raise UserError("--max-latency is measured: leave --device none out")
    simulated, each = maker.device.kind == "simulator", uniforms[0].figures.seconds_each
    if Resource.INSTRUCTIONS in budgets.work:
        if not simulated:
            raise wrong_unit(budgets.work, maker.device.name, "seconds", "2ms")
        return budgets.work
    if not simulated:
        return budgets.work
    if each is None:
        raise wrong_unit(budgets.work, maker.device.name, "instructions and estimates no time", "3Mi")
    return Resources({Resource.INSTRUCTIONS: budgets.work[Resource.LATENCY] / each})


def wrong_unit(latency: Resources, device: str, counts: str, example: str) -> UserError:
    return UserError(f"--max-latency of {told(latency)}: {device} measures {counts}; write it like {example}")


def work_spent(measurement: Measurement, work: Resources) -> Resources:
    """In the resource of `work`; seconds of a simulator are its estimate. Raises ValueError where nothing was found."""
    estimated = {} if measurement.estimate is None else {Resource.LATENCY: measurement.estimate.latency_s}
    spent = (Resources(estimated) | measurement.spent).only(*work)
    if not spent:
        raise ValueError(f"{measurement.device} gave no cost: {measurement.mismatches} wrong elements")
    return spent


def spent_by(trial: Trial, budgets: Budgets, limits: Resources) -> Resources:
    """What a product takes of memories, and of work in the resource that `limits` have it in."""
    memories = trial.artifact.takes.only(Resource.FLASH, Resource.RAM)
    if not budgets.work or trial.measurement is None:
        return memories
    spent = work_spent(trial.measurement, budgets.work)
    return memories | {
        name: limit * spent[asked] / budgets.work[asked]
        for name, limit in limits.only(*WORK).items()
        for asked in budgets.work
    }


def nearly_all(spent: Resources, limits: Resources) -> bool:
    """Whether another build could find little more to spend: of flash, the resource that answers are made to fill."""
    flash = Resource.FLASH
    return flash in limits and flash in spent and spent[flash] >= NEARLY_ALL * limits[flash]
