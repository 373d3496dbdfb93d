"""What a search chose, why, and what that costs, for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from bevel.backends.program.resources import Resource
from bevel.passes.assign.problem import Assignment, everywhere
from bevel.passes.base import Note
from bevel.tools.assign.memory import bytes_of
from bevel.tools.assign.search import Search
from bevel.tools.assign.trial import Formats
from bevel.tools.report import report

PASS = "assign"


@dataclass(frozen=True)
class Assigned:
    """formats: of each site; told: for the report; notes: the reason for each site."""

    formats: Formats
    told: report.Assignment
    left_out: Mapping[str, str]

    @property
    def notes(self) -> list[Note]:
        missing = [
            Note(PASS, "model", "refused", f"{name} is not among the choices: {why}")
            for name, why in self.left_out.items()
        ]
        return [chosen(one) for one in self.told.nodes] + missing


def chosen(one: report.Decision) -> Note:
    return Note(PASS, one.node, "chosen", one.reason, {"bytes": one.bytes, "takes_db": one.takes_db})


def explain(search: Search, answer: Assignment) -> Assigned:
    problem = search.problem
    reference_db = search.sqnr_db(search.uniforms[0].assignment)
    nodes = tuple(decision(search, answer, site, reference_db) for site in range(len(answer)))
    uniforms = tuple(
        report.UniformFormat(
            everywhere(problem, one.assignment),
            one.figures.takes.whole(Resource.FLASH),
            one.figures.takes.whole(Resource.RAM),
            finite(search.known[one.assignment]),
        )
        for one in search.uniforms
        if one.assignment in search.known
    )
    told = report.Assignment(
        sensitivity=search.maker.options.sensitivity,
        samples=len(search.samples.samples),
        sqnr_db=finite(search.sqnr_db(answer)),
        nodes=nodes,
        uniform=uniforms,
    )
    return Assigned(search.formats_of(answer), told, search.left_out)


def decision(search: Search, answer: Assignment, site: int, reference_db: float) -> report.Decision:
    """Each loss is that of this site alone, all others in the formats that lose least."""
    problem, chosen = search.problem, answer[site]
    where, name, finest = problem.sites[site], problem.formats[chosen], problem.finest[site]
    taken_up, taken = taken_bytes(search, answer, site), partial(taken_db, search, site, reference_db=reference_db)
    memory = Resource.FLASH if where.part == "weights" else Resource.RAM
    reason = f"{where.part} in {name}: "
    if chosen == finest:
        reason += "the format that loses least"
    else:
        reason += f"alone it takes {taken(chosen):.2f} dB from {problem.formats[finest]}'s {reference_db:.1f} dB"
        saved = taken_up[finest] - taken_up[chosen]
        reason += f" and saves {saved:,} bytes" if saved > 0 else ""
    others = np.flatnonzero(problem.allowed[site])
    coarser = [int(one) for one in others if taken_up[one] < taken_up[chosen]]
    if coarser:
        nearest = max(coarser, key=lambda one: (taken_up[one], -problem.losses[site, one]))
        reason += f"; {problem.formats[nearest]} would take {taken(nearest):.2f} dB"
        reason += f" for {taken_up[chosen] - taken_up[nearest]:,} bytes"
    return report.Decision(where.node, where.part, name, taken_up[chosen], str(memory), taken(chosen), reason)


def taken_bytes(search: Search, answer: Assignment, site: int) -> list[int]:
    """By format: the constants of weights in flash, beside results as they were chosen; a result in RAM."""
    problem = search.problem
    if problem.sites[site].part == "result":
        formats = (search.formats[name] for name in problem.formats)
        return [search.elements[site] * bytes_of(one) for one in formats]
    found = problem.costs.each[Resource.FLASH][site].copy()
    for one in problem.costs.couples:
        if one.weights == site:
            found += one.takes[Resource.FLASH][:, answer[one.reads]]
    return [round(float(one)) for one in found]


def taken_db(search: Search, site: int, format: int, reference_db: float) -> float:
    """How far SQNR falls from `reference_db`, that of the first formats everywhere, where one site has `format`."""
    losses = search.noise.losses[site]
    noise = search.noise.signal / 10 ** (reference_db / 10) if math.isfinite(reference_db) else 0.0
    more = max(float(losses[format] - losses[search.problem.finest[site]]), 0.0)
    return 10 * math.log10((noise + more) / noise) if noise > 0 else 0.0


def finite(decibels: float) -> float | None:
    return decibels if math.isfinite(decibels) else None
