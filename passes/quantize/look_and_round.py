"""All products rounded by what is seen of them, in the order of the walk, by one rounder or the best of several.

    error = E[(y - q^T x - shift)**2]     of samples that are held out

x is what the product reads in the model that is quantized up to it, y what it makes in the float one, so that each
product makes up for what is lost before it, as far as it can. A bias takes up the mean of what is left, where samples
held out agree (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", appendix D,
with x of the quantized model). Who rounds is whose error is least of all that are tried; no sample that is held out has
been fitted to.

The errors of several products add up or cancel, so in the end the model's results decide, on the same samples: where
weights rounded to the nearest leave more of them, those are taken, all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np

from bevel.calib.data.dataset import Runs
from bevel.calib.formats.lattice import Reals
from bevel.calib.observe.moments import Moments
from bevel.calib.rounding import rounder
from bevel.calib.rounding.base import KeptRows, SeenProduct
from bevel.calib.rounding.nearest import ROUNDER as NEAREST
from bevel.passes.base import Work
from bevel.passes.quantize.correct_bias import correct_biases
from bevel.passes.quantize.results import results_of
from bevel.passes.quantize.round_weights import ProductWeights, Rounded, rounded_by
from bevel.passes.quantize.units import Unit, find_units
from bevel.passes.quantize.walk_products import ProductWalk, held_out


@dataclass(frozen=True, eq=False)
class RoundedUnit:
    """made: of its products, in order; rounder: its name; left_db: what each that was tried leaves of their outputs."""

    made: Sequence[Rounded]
    rounder: str
    left_db: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RoundedModel:
    """made: of all products, with what is known of each; samples: how many were held out; model_db: what nearest codes
    leave of the model's results, and what was made of what is seen; None where that was not compared."""

    made: Sequence[tuple[Rounded, RoundedUnit]]
    samples: int = 0
    model_db: tuple[float, float] | None = None


def look_and_round(
    work: Work,
    data: Runs,
    found: Sequence[ProductWeights],
    names: Sequence[str],
    corrected: bool,
    shares: Mapping[str, str] | None = None,
) -> RoundedModel:
    """data: the samples to look at; names: of the rounders that are tried; corrected: whether biases may change;
    shares: by product, the shares of attention by which its rows count. Products of which nothing can be seen have the
    nearest codes."""
    nearest = [rounded_by(one, NEAREST) for one in found]
    asked = len(names) == 1
    walk = ProductWalk(
        work.graph,
        work.plan.scales,
        work.observations,
        work.schemes.method,
        work.states,
        data,
        found,
        find_units(work.graph, found),
        nearest,
        shares or {},
        max(rounder(name).keeps for name in names),
    )
    results = () if asked else tuple(results_of(work.graph))
    unbiased = corrected and not asked
    rivals = list(correct_biases(nearest, work.plan.scales, work.observations)) if unbiased else nearest

    def round_unit(unit: Unit, seen: Sequence[SeenProduct]) -> RoundedUnit:
        return best_of([found[place] for place in unit.places], seen, names, corrected)

    walked = walk.rounded(round_unit, rivals, results)
    by_nearest = RoundedUnit(nearest, NEAREST.name)
    made = [(one, by_nearest) for one in nearest]
    for unit, one in zip(walk.units, walked.units, strict=True):
        for place, rounded in zip(unit.places, one.made, strict=True):
            made[place] = (rounded, one)
    if walked.left_db is None:
        return RoundedModel(made, len(held_out(len(data))))
    before, after = walked.left_db
    if after < before:
        made = [(plain, replace(unit, rounder=NEAREST.name)) for plain, (_, unit) in zip(nearest, made, strict=True)]
    return RoundedModel(made, len(held_out(len(data))), (before, after))


def best_of(
    products: Sequence[ProductWeights], seen: Sequence[SeenProduct], names: Sequence[str], corrected: bool
) -> RoundedUnit:
    """Products of the same weights get the same codes: those of the rounder whose error is least of all their
    outputs, the first of those that are alike."""
    parts = (part for one in seen for part in (one.fitted, one.held) if part is not None)
    if not all(part.finite for part in parts):  # a model leaves what float32 holds
        return RoundedUnit([rounded_by(one, NEAREST) for one in products], NEAREST.name)
    if len(names) == 1:
        return RoundedUnit(by_rounder(products, seen, names[0], corrected), names[0])
    tried: dict[str, Sequence[Rounded]] = {}
    for name in names:
        made = by_rounder(products, seen, name, corrected)
        if not any(same(made[0], other[0]) for other in tried.values()):
            tried[name] = made
    power = sum(float(one.held.y_power.sum()) for one in seen if one.held is not None)
    errors = {name: sum(map(error_of, made, seen)) for name, made in tried.items()}
    best = min(errors, key=errors.__getitem__)
    return RoundedUnit(tried[best], best, {name: decibels(power, error) for name, error in errors.items()})


def by_rounder(
    products: Sequence[ProductWeights], seen: Sequence[SeenProduct], name: str, corrected: bool
) -> list[Rounded]:
    first = rounded_by(products[0], rounder(name), together(seen))
    made = [first, *(replace(rounded_by(one, NEAREST), quantized=first.quantized) for one in products[1:])]
    return [repaired(one, part) if corrected else one for one, part in zip(made, seen, strict=True)]


def same(one: Rounded, other: Rounded) -> bool:
    return np.array_equal(one.quantized.dequantize(), other.quantized.dequantize())


def together(seen: Sequence[SeenProduct]) -> SeenProduct:
    held = [one.held for one in seen if one.held is not None]
    kept = [one.kept for one in seen if one.kept is not None]
    rows = KeptRows.joined(kept) if kept else None
    return SeenProduct(seen[0].rows, total([one.fitted for one in seen]), total(held) if held else None, rows)


def total(moments: Sequence[Moments]) -> Moments:
    return reduce(add, moments)


def repaired(one: Rounded, seen: SeenProduct) -> Rounded:
    """With the bias that makes up for the mean error, if there is one to change and samples held out agree."""
    if one.bias is None:
        return one
    reals = reals_of(one, seen)
    held, shift = seen.held, seen.fitted.shift(reals)
    if held is not None and held.error(reals, shift).sum() > held.error(reals).sum():
        return replace(one, repaired=True)
    return replace(one, bias=one.bias + shift.reshape(-1), repaired=True)


def error_of(one: Rounded, seen: SeenProduct) -> float:
    """Of samples held out, summed over the outputs."""
    reals, shift = reals_of(one, seen), np.zeros(seen.fitted.y_sum.shape)
    if one.bias is not None and one.weights.bias is not None:
        shift = shift + (one.bias - one.weights.bias.values).reshape(len(reals), -1)
    assert seen.held is not None
    return float(seen.held.error(reals, shift).sum())


def reals_of(one: Rounded, seen: SeenProduct) -> Reals:
    return np.ascontiguousarray(seen.rows.matrices(one.quantized.dequantize()), np.float64)


def decibels(power: float, error: float) -> float:
    return float(10 * np.log10(power / error)) if error > 0 < power else np.inf
