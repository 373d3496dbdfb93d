"""The integer program against trying everything, on problems small enough for that."""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.passes.assign.allocate import allocate, least_each, smallest
from bevel.passes.assign.front import front
from bevel.passes.assign.problem import Assignment, Costs, Problem, SharedPart, named
from bevel.passes.assign.refine import power, refine

FORMATS = ("int8", "int4", "int2")


def flash_only(amount: float) -> Resources:
    return Resources({Resource.FLASH: amount})


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to four sites; integers, so that sums are exact; parts of code with any users."""
    sites = draw(st.integers(1, 4))
    numbers = st.lists(st.integers(1, 60), min_size=sites * 3, max_size=sites * 3)
    losses, flash, work = (np.array(draw(numbers), float).reshape(sites, 3) for _ in range(3))
    allowed = np.array(draw(st.lists(st.booleans(), min_size=sites * 3, max_size=sites * 3))).reshape(sites, 3)
    allowed[:, 0] = True
    choices = [(site, format) for site in range(sites) for format in range(3)]
    users = st.frozensets(st.sampled_from(choices), min_size=1)
    parts = draw(st.lists(st.builds(SharedPart, st.builds(flash_only, st.integers(1, 80)), users), max_size=3))
    each = {Resource.FLASH: flash, Resource.INSTRUCTIONS: work}
    costs = Costs(each, tuple(parts), Resources({"flash": 100, "instructions": 7}))
    return Problem(tuple(f"n{site}" for site in range(sites)), FORMATS, losses, costs, allowed)


def everything(problem: Problem) -> list[Assignment]:
    rows = [np.flatnonzero(row).tolist() for row in problem.allowed]
    return [tuple(one) for one in product(*rows)]


@given(problems(), st.integers(100, 500), st.integers(7, 200))
def test_the_answer_is_the_best_of_all_that_fit(problem: Problem, flash: int, work: int) -> None:
    limits = Resources({"flash": flash, "instructions": work})
    fitting = [one for one in everything(problem) if problem.fits(one, limits)]
    found = allocate(problem, limits)
    if not fitting:
        assert found is None
        return
    assert found is not None and problem.fits(found, limits)
    assert problem.loss(found) == min(map(problem.loss, fitting))


@given(problems())
def test_the_smallest_and_the_fastest_are_those_of_all(problem: Problem) -> None:
    flash_of, work_of = (partial(problem.amount, one) for one in (Resource.FLASH, Resource.INSTRUCTIONS))
    least = smallest(problem)
    assert least is not None
    assert flash_of(least) == min(map(flash_of, everything(problem)))
    assert work_of(least_each(problem, Resource.INSTRUCTIONS)) == min(map(work_of, everything(problem)))


@given(problems(), st.integers(0, 2**32 - 1), st.integers(100, 500))
def test_refining_never_loses_and_never_leaves_the_limits(problem: Problem, seed: int, flash: int) -> None:
    limits = flash_only(flash)
    start = allocate(problem, limits)
    if start is None:
        return
    errors = np.random.default_rng(seed).standard_normal((problem.losses.size, 5))
    products = errors @ errors.T
    found = refine(problem, products, start, limits)
    assert problem.fits(found, limits) and all(problem.allowed[site, format] for site, format in enumerate(found))
    assert power(products, 3, found) <= power(products, 3, start) + 1e-9


def test_refining_finds_two_errors_that_cancel() -> None:
    """Each int4 error alone is larger than the int8 one; together they are nothing."""
    errors = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    losses = np.square(errors).sum(axis=1).reshape(2, 2)
    costs = Costs({Resource.FLASH: np.ones((2, 2))})
    problem = Problem(("a", "b"), ("int8", "int4"), losses, costs, np.ones((2, 2), np.bool_))
    assert allocate(problem, NOTHING) == (0, 0)
    assert refine(problem, errors @ errors.T, (0, 0), NOTHING) == (1, 1)


def test_code_is_charged_once_however_many_sites_use_it() -> None:
    """Two int4 sites save 20 bytes and share a kernel of 15: one alone would not be worth it."""
    users = frozenset({(0, 1), (1, 1)})
    costs = Costs({Resource.FLASH: np.array([[20.0, 10.0], [20.0, 10.0]])}, (SharedPart(flash_only(15), users),))
    problem = Problem(("a", "b"), ("int8", "int4"), np.array([[0.0, 1.0]] * 2), costs, np.ones((2, 2), np.bool_))
    sizes = [problem.takes(one) for one in ((0, 0), (1, 0), (1, 1))]
    assert sizes == [flash_only(40), flash_only(45), flash_only(35)]
    assert allocate(problem, flash_only(39)) == (1, 1)
    assert smallest(problem) == (1, 1)
    assert allocate(problem, flash_only(34)) is None


@given(problems())
def test_the_front_falls_in_loss_as_it_grows_in_flash(problem: Problem) -> None:
    products = np.diag(problem.losses.ravel())
    found = front(problem, products, NOTHING, 8)
    sizes, losses = [problem.amount(Resource.FLASH, one) for one in found], [problem.loss(one) for one in found]
    assert found and sizes == sorted(sizes) and losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(min(map(problem.loss, everything(problem))))


def test_a_uniform_assignment_leaves_a_site_that_may_not_have_the_format_its_first() -> None:
    allowed = np.array([[True, True], [True, False]])
    problem = Problem(("a", "b"), ("int8", "int4"), np.ones((2, 2)), Costs({Resource.FLASH: np.ones((2, 2))}), allowed)
    assert named(problem, problem.uniform(1)) == {"a": "int4", "b": "int8"}
