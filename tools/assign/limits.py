"""Budgets in the units that the cost model has, and what a product really takes of them."""

from __future__ import annotations

from collections.abc import Sequence

from bevel.backends.devices.base import Measurement
from bevel.calib.errors import UserError
from bevel.passes.assign.problem import Limits
from bevel.tools.assign.costs import Uniform
from bevel.tools.assign.trial import Maker, Trial
from bevel.tools.run.budgets import Budgets, Instructions, Latency

NEARLY_ALL = 0.995


def limits_of(budgets: Budgets, uniforms: Sequence[Uniform], maker: Maker) -> Limits:
    """Flash is also limited by what the target has.

    Raises UserError for a latency in a unit that nothing here measures or estimates.
    """
    memory = maker.target.memory("flash")
    sizes = [size for size in (budgets.flash, None if memory is None else memory.bytes) if size is not None]
    flash = float(min(sizes)) if sizes else None
    if budgets.latency is None:
        return Limits(flash)
    if maker.device is None:
        raise UserError("--max-latency is measured: leave --device none out")
    each = uniforms[0].figures.seconds_each
    if isinstance(budgets.latency, Instructions):
        if maker.device.kind != "simulator":
            raise wrong_unit(budgets.latency, maker.device.name, "seconds", "2ms")
        return Limits(flash, float(budgets.latency.count))
    if maker.device.kind == "simulator":
        if each is None:
            raise wrong_unit(budgets.latency, maker.device.name, "instructions and estimates no time", "3Mi")
        return Limits(flash, budgets.latency.value / each)
    return Limits(flash, budgets.latency.value)


def wrong_unit(latency: Latency, device: str, counts: str, example: str) -> UserError:
    return UserError(f"--max-latency of {latency}: {device} measures {counts}; write it like {example}")


def latency_spent(measurement: Measurement, latency: Latency) -> float:
    """In the unit of `latency`; seconds of a simulator are its estimate. Raises ValueError where nothing was found."""
    estimated = measurement.estimate.latency_s if measurement.estimate is not None else None
    seconds = measurement.latency_s if measurement.latency_s is not None else estimated
    spent = measurement.instructions if isinstance(latency, Instructions) else seconds
    if spent is None:
        raise ValueError(f"{measurement.device} gave no cost: {measurement.mismatches} wrong elements")
    return float(spent)


def amount(latency: Latency) -> float:
    return float(latency.count if isinstance(latency, Instructions) else latency.value)


def spent_by(trial: Trial, budgets: Budgets, limits: Limits) -> Limits:
    """What a product takes of flash, and of work in the unit of `limits.work`."""
    if budgets.latency is None or limits.work is None or trial.measurement is None:
        return Limits(float(trial.artifact.flash_bytes))
    share = latency_spent(trial.measurement, budgets.latency) / amount(budgets.latency)
    return Limits(float(trial.artifact.flash_bytes), share * limits.work)


def nearly_all(spent: Limits, limits: Limits) -> bool:
    """Whether another build could find little more to spend: of flash, the resource that answers are made to fill."""
    return limits.flash is not None and spent.flash is not None and spent.flash >= NEARLY_ALL * limits.flash


def kept(spent: Limits, limits: Limits) -> bool:
    """Whether what was spent is within the limits."""
    flash = limits.flash is None or spent.flash is None or spent.flash <= limits.flash
    return flash and (limits.work is None or spent.work is None or spent.work <= limits.work)
