"""RAM as a budget of a search: what assignments fill it with, at the moments when it is fullest.

How a product is laid out in RAM, and in which bands of rows it runs where there is little, is found for one assignment
at a time. So the integer program knows of RAM what was found for its answers: where one does not fit, its fullest
moments become constraints, by the bytes of what is live then in each format, and the program is asked again (cutting
planes: Dantzig, Fulkerson and Johnson 1954, "Solution of a Large-Scale Traveling-Salesman Problem").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bevel.backends.program.fit import Fit
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resource, Resources
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.problem import Assignment, Moment
from bevel.passes.quantize.choose_scales import is_wide
from bevel.tools.assign.search import Search

LEARNED = 4  # moments of an answer


def too_full(search: Search, assignment: Assignment, limits: Resources) -> list[Moment]:
    """The fullest moments of an assignment that takes more RAM than there is; none where it fits."""
    if Resource.RAM not in limits:
        return []
    found = search.maker.fitted(search.maker.rough.program(search.formats_of(assignment)))
    if found.plan.arena_bytes + beside_arena(search) <= limits[Resource.RAM]:
        return []
    told: dict[tuple[int, ...], Moment] = {}
    for moment in moments(search, assignment, found):
        told.setdefault(tuple(np.flatnonzero(moment.takes.any(axis=1)).tolist()), moment)
    return list(told.values())[:LEARNED]


def whole(search: Search) -> list[Moment]:
    """Every moment of the product where nobody chooses, as a whole."""
    assignment, maker = search.uniforms[0].assignment, search.maker.rough
    return list(moments(search, assignment, maker.fitted(maker.program(search.formats_of(assignment)))))


def beside_arena(search: Search) -> float:
    """Stack and static data."""
    takes = search.uniforms[0].figures.takes
    return takes[Resource.RAM] - takes[Resource.ARENA]


def moments(search: Search, assignment: Assignment, found: Fit) -> Iterator[Moment]:
    """Of `found`, what `assignment` was made to, the fullest first. Each says of the assignment itself what it takes
    there, and what the whole takes beyond the fullest."""
    plan, owner = found.plan, owners_of_buffers(search, found.program)
    formats = [bytes_of(search.formats[name]) for name in search.problem.formats]
    overwritten = {merge.call: plan.sizes[merge.output] for merge in plan.merged}
    coupled = {
        (search.problem.sites[one.weights].node): place for place, one in enumerate(search.problem.costs.couples)
    }
    filled = []
    for call in range(len(found.program.calls)):
        live = sum(plan.sizes[name] for name in plan.live_at(call)) + sum(plan.scratch_sizes[call])
        filled.append(min(live - overwritten.get(call, 0), plan.arena_bytes))
    more = plan.arena_bytes - max(filled) + beside_arena(search)
    for call in np.argsort(filled)[::-1]:
        takes, own = np.zeros(search.problem.losses.shape), 0.0
        for name in plan.live_at(call):
            if (site := owner.get(name)) is not None:
                takes[site] += plan.sizes[name] / formats[assignment[site]] * np.array(formats)
                own += plan.sizes[name]
        couple = coupled.get(found.program.calls[call].node)
        moment = Moment(filled[call] + more - own, takes, couple)
        scratch = search.problem.filled(moment, assignment) - filled[call] - more
        yield replace(moment, beside=moment.beside - scratch)


def owners_of_buffers(search: Search, program: Program) -> dict[str, int]:
    """{buffer: the site that it holds}"""
    made = {buffer: call.node for call in program.calls for buffer in call.outputs}
    return {buffer: search.places.makes[node] for buffer, node in made.items() if node in search.places.makes}


def bytes_of(format: TensorFormat) -> int:
    """Of an element of an activation."""
    return 2 if is_wide(format) else 1
