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
from bevel.passes.assign.problem import Assignment, Costs, Couple, FormatSite, Moment, Problem, SharedPart, named
from bevel.passes.assign.refine import power, refine

FORMATS = ("int8", "int4", "int2")


def flash_only(amount: float) -> Resources:
    return Resources({Resource.FLASH: amount})


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to four sites; integers, so that sums are exact; products of two of them; parts of code with any users;
    moments that fill RAM."""
    sites = draw(st.integers(1, 4))
    numbers = amounts(sites * 3, 1)
    losses, flash, work = (np.array(draw(numbers), float).reshape(sites, 3) for _ in range(3))
    allowed = np.array(draw(st.lists(st.booleans(), min_size=sites * 3, max_size=sites * 3))).reshape(sites, 3)
    allowed[:, 0] = True
    choices = [(site, format) for site in range(sites) for format in range(3)]
    users = st.frozensets(st.sampled_from(choices), min_size=1)
    couples = tuple(draw(st.lists(coupled(sites), max_size=2))) if sites > 1 else ()
    pairs = [(couple, one, other) for couple in range(len(couples)) for one in range(3) for other in range(3)]
    joint = st.frozensets(st.sampled_from(pairs)) if pairs else st.just(frozenset())
    parts = draw(st.lists(st.builds(SharedPart, st.builds(flash_only, st.integers(1, 80)), users, joint), max_size=3))
    each = {Resource.FLASH: flash, Resource.INSTRUCTIONS: work}
    moments = tuple(draw(st.lists(filled(sites, len(couples)), max_size=2)))
    beside = Resources({"flash": 100, "instructions": 7})
    costs = Costs(each, tuple(parts), beside, couples, moments)
    return Problem(tuple(FormatSite(f"n{site}") for site in range(sites)), FORMATS, losses, costs, allowed)


@st.composite
def coupled(draw: st.DrawFn, sites: int) -> Couple:
    weights, reads = draw(st.permutations(range(sites)))[:2]
    names = (Resource.FLASH, Resource.INSTRUCTIONS, Resource.ARENA)
    takes = {name: np.array(draw(amounts(9, 0)), float).reshape(3, 3) for name in names}
    refused = draw(st.frozensets(st.tuples(st.integers(0, 2), st.integers(1, 2)), max_size=2))
    return Couple(weights, reads, takes, refused)


@st.composite
def filled(draw: st.DrawFn, sites: int, couples: int) -> Moment:
    takes = np.array(draw(amounts(sites * 3, 0)), float).reshape(sites, 3)
    return Moment(draw(st.integers(0, 50)), takes, draw(st.sampled_from([None, *range(couples)])))


def amounts(count: int, least: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(least, 60), min_size=count, max_size=count)


def everything(problem: Problem) -> list[Assignment]:
    rows = [np.flatnonzero(row).tolist() for row in problem.allowed]
    return [tuple(one) for one in product(*rows)]


@given(problems(), st.integers(100, 500), st.integers(7, 200), st.integers(0, 200))
def test_the_answer_is_the_best_of_all_that_fit(problem: Problem, flash: int, work: int, ram: int) -> None:
    limits = Resources({"flash": flash, "instructions": work, "ram": ram})
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
    least, fastest = smallest(problem), least_each(problem, Resource.INSTRUCTIONS)
    possible = [one for one in everything(problem) if problem.fits(one, NOTHING)]
    if not possible:
        assert least is None and fastest is None
        return
    assert least is not None and fastest is not None
    assert flash_of(least) == min(map(flash_of, possible))
    assert work_of(fastest) == min(map(work_of, possible))


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
    problem = Problem((FormatSite("a"), FormatSite("b")), ("int8", "int4"), losses, costs, np.ones((2, 2), np.bool_))
    assert allocate(problem, NOTHING) == (0, 0)
    assert refine(problem, errors @ errors.T, (0, 0), NOTHING) == (1, 1)


def test_code_is_charged_once_however_many_sites_use_it() -> None:
    """Two int4 sites save 20 bytes and share a kernel of 15: one alone would not be worth it."""
    users = frozenset({(0, 1), (1, 1)})
    costs = Costs({Resource.FLASH: np.array([[20.0, 10.0], [20.0, 10.0]])}, (SharedPart(flash_only(15), users),))
    problem = Problem(
        (FormatSite("a"), FormatSite("b")),
        ("int8", "int4"),
        np.array([[0.0, 1.0]] * 2),
        costs,
        np.ones((2, 2), np.bool_),
    )
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
    possible = [problem.loss(one) for one in everything(problem) if problem.fits(one, NOTHING)]
    assert sizes == sorted(sizes) and losses == sorted(losses, reverse=True) and bool(found) == bool(possible)
    assert not found or losses[-1] == pytest.approx(min(possible))


def test_a_uniform_assignment_leaves_a_site_that_may_not_have_the_format_its_first() -> None:
    allowed = np.array([[True, True], [True, False]])
    problem = Problem(
        (FormatSite("a"), FormatSite("b")),
        ("int8", "int4"),
        np.ones((2, 2)),
        Costs({Resource.FLASH: np.ones((2, 2))}),
        allowed,
    )
    assert named(problem, problem.uniform(1)) == {FormatSite("a"): "int4", FormatSite("b"): "int8"}
