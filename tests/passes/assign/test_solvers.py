"""Solvers on problems small enough to try everything, and on one large enough for them to differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.problem import Assignment, Costs, Couple, FormatSite, Moment, Problem
from bevel.passes.assign.refine import power
from bevel.passes.assign.solvers import solvers
from bevel.tools.run.budgets import SOLVERS

# The genetic search takes seconds for each of its generations.
SOLVERS_BY_TIME = [pytest.param(one, marks=pytest.mark.long) if one == "genetic" else one for one in SOLVERS]

FORMATS = ("int8", "int6", "int4")
SITES = 14
BITS = np.array([8.0, 6.0, 4.0])


def flash_only(amount: float) -> Resources:
    return Resources({Resource.FLASH: amount})


@pytest.fixture(scope="module")
def errors() -> np.ndarray:
    """Of each site and format at 60 outputs, a quarter for each bit more, and some that go together."""
    rng = np.random.default_rng(3)
    own = rng.standard_normal((SITES, 60)) * rng.lognormal(0, 1, (SITES, 1)) + 0.3 * rng.standard_normal(60)
    return (own[:, None, :] * (2.0 ** (4 - BITS))[None, :, None]).reshape(SITES * 3, 60)


@pytest.fixture(scope="module")
def problem(errors: np.ndarray) -> Problem:
    sizes = np.random.default_rng(4).integers(100, 3000, SITES)
    flash = sizes[:, None] * BITS[None, :]
    sites = tuple(FormatSite(f"n{site}") for site in range(SITES))
    losses = np.square(errors).sum(axis=1).reshape(SITES, 3)
    return Problem(sites, FORMATS, losses, Costs({Resource.FLASH: flash}), np.ones((SITES, 3), np.bool_))


def half(problem: Problem) -> Resources:
    """A little less than int6 everywhere takes."""
    return flash_only(0.95 * problem.amount(Resource.FLASH, problem.uniform(1)))


def test_each_solver_of_the_command_line_has_a_file() -> None:
    assert tuple(sorted(SOLVERS)) == tuple(sorted(solvers()))


@pytest.mark.parametrize("name", SOLVERS_BY_TIME)
def test_an_answer_fits_and_is_better_than_any_uniform_one_that_does(
    name: str, problem: Problem, errors: np.ndarray
) -> None:
    limits, products = half(problem), errors @ errors.T
    found = solvers()[name].best(problem, products, limits)
    assert found is not None and problem.fits(found, limits)
    uniform = [problem.uniform(format) for format in range(3) if problem.fits(problem.uniform(format), limits)]
    assert power(products, 3, found) < min(power(products, 3, one) for one in uniform)


def test_the_program_is_not_beaten(problem: Problem, errors: np.ndarray) -> None:
    """In the power of summed errors, which the program sees by refinement alone, by more than 2 %."""
    limits, products = half(problem), errors @ errors.T
    powers = {}
    for name in SOLVERS:
        found = solvers()[name].best(problem, products, limits)
        assert found is not None
        powers[name] = power(products, 3, found)
    assert powers["milp"] <= 1.02 * min(powers.values())


@pytest.mark.parametrize("name", SOLVERS_BY_TIME)
def test_a_path_falls_in_power_as_it_grows(name: str, problem: Problem, errors: np.ndarray) -> None:
    products = errors @ errors.T
    path = solvers()[name].path(problem, products, NOTHING)
    sizes = [problem.amount(Resource.FLASH, one) for one in path]
    powers = [power(products, 3, one) for one in path]
    assert len(path) > 3 and sizes == sorted(sizes) and powers == sorted(powers, reverse=True)


@pytest.mark.parametrize("name", SOLVERS_BY_TIME)
def test_the_smallest_that_passes_passes_in_few_trials(name: str, problem: Problem, errors: np.ndarray) -> None:
    products = errors @ errors.T
    worst, tried = 4 * power(products, 3, problem.finest), []

    def passes(one: Assignment) -> bool:
        tried.append(one)
        return power(products, 3, one) <= worst

    found = solvers()[name].smallest(problem, products, NOTHING, passes)
    assert found is not None and power(products, 3, found) <= worst
    assert problem.amount(Resource.FLASH, found) < problem.amount(Resource.FLASH, problem.finest)
    assert len(tried) <= 8 * len(FORMATS)
    assert solvers()[name].smallest(problem, products, NOTHING, lambda one: False) is None


@pytest.mark.parametrize("name", SOLVERS_BY_TIME)
def test_what_no_choice_keeps_has_no_answer(name: str, problem: Problem, errors: np.ndarray) -> None:
    assert solvers()[name].best(problem, errors @ errors.T, flash_only(10.0)) is None


@pytest.mark.parametrize("name", SOLVERS_BY_TIME)
def test_a_full_moment_is_kept_within_ram(name: str, problem: Problem, errors: np.ndarray) -> None:
    takes = np.outer(np.ones(SITES), BITS)
    full = problem.with_moments([Moment(0.0, takes)])
    limits = Resources({Resource.RAM: 6.0 * SITES})
    found = solvers()[name].best(full, errors @ errors.T, limits)
    assert found is not None and full.takes(found)[Resource.RAM] <= 6.0 * SITES


@pytest.mark.parametrize("name", SOLVERS_BY_TIME)
def test_a_format_that_a_site_may_not_have_is_not_given(name: str, problem: Problem, errors: np.ndarray) -> None:
    allowed = problem.allowed.copy()
    allowed[::2, 2] = False
    held = Problem(problem.sites, FORMATS, problem.losses, problem.costs, allowed)
    found = solvers()[name].best(held, errors @ errors.T, half(problem))
    assert found is not None and all(allowed[site, format] for site, format in enumerate(found))


@pytest.mark.parametrize("name", SOLVERS_BY_TIME)
def test_a_pair_without_a_kernel_is_not_given(name: str, problem: Problem, errors: np.ndarray) -> None:
    """The finest formats are one, of two sites that read each other."""
    couple = Couple(0, 1, {Resource.FLASH: np.zeros((3, 3))}, frozenset({(0, 0)}))
    held = replace(problem, costs=replace(problem.costs, couples=(couple,)))
    products = errors @ errors.T
    worst = 4 * power(products, 3, problem.finest)
    found = solvers()[name].smallest(held, products, NOTHING, lambda one: power(products, 3, one) <= worst)
    assert found is not None and held.fits(found, NOTHING) and power(products, 3, found) <= worst
    none = replace(couple, refused=frozenset((one, other) for one in range(3) for other in range(3)))
    held = replace(problem, costs=replace(problem.costs, couples=(none,)))
    assert solvers()[name].smallest(held, products, NOTHING, lambda one: True) is None
