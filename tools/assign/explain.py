"""What a search chose, why, and what that costs, for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bevel.backends.program.resources import Resource
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.problem import Assignment
from bevel.passes.base import Note
from bevel.tools.assign.search import Search
from bevel.tools.report import report

PASS = "assign"


@dataclass(frozen=True)
class Assigned:
    """formats: of the weights of each site; told: for the report; notes: the reason for each site."""

    formats: Mapping[str, TensorFormat]
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
    return Note(PASS, one.node, "chosen", one.reason, {"flash_bytes": one.flash_bytes, "takes_db": one.takes_db})


def explain(search: Search, answer: Assignment, answers: report.Answers | None) -> Assigned:
    finest = search.finest
    reference_db = search.sqnr_db(search.problem.uniform(finest))
    nodes = tuple(decision(search, answer, site, reference_db) for site in range(len(answer)))
    names, everywhere = search.problem.formats, [search.problem.uniform(one) for one in range(len(search.uniforms))]
    uniforms = tuple(
        report.UniformFormat(name, one.figures.takes.whole(Resource.FLASH), finite(search.sqnr_db(assignment)))
        for name, one, assignment in zip(names, search.uniforms, everywhere, strict=True)
    )
    told = report.Assignment(
        sensitivity=search.maker.options.sensitivity,
        samples=len(search.samples.samples),
        sqnr_db=finite(search.sqnr_db(answer)),
        nodes=nodes,
        uniform=uniforms,
        answers=answers,
    )
    return Assigned(search.formats_of(answer), told, search.left_out)


def decision(search: Search, answer: Assignment, site: int, reference_db: float) -> report.Decision:
    """Each loss is that of this node alone, all others in the format that loses least."""
    problem, finest, chosen = search.problem, search.finest, answer[site]
    bytes_of, name = problem.costs.each[Resource.FLASH][site], problem.formats[chosen]
    takes = taken_db(search, site, chosen, reference_db)
    saved = round(float(bytes_of[finest] - bytes_of[chosen]))
    reason = f"weights in {name}: "
    if chosen == finest:
        reason += "the format that loses least"
    else:
        reason += f"alone it takes {takes:.2f} dB from {problem.formats[finest]}'s {reference_db:.1f} dB"
        reason += f" and saves {saved:,} bytes"
    coarser = [one for one in range(len(problem.formats)) if bytes_of[one] < bytes_of[chosen]]
    if coarser:
        nearest = max(coarser, key=lambda one: (bytes_of[one], -problem.losses[site, one]))
        reason += f"; {problem.formats[nearest]} would take {taken_db(search, site, nearest, reference_db):.2f} dB"
        reason += f" for {round(float(bytes_of[chosen] - bytes_of[nearest])):,} bytes"
    return report.Decision(problem.sites[site], name, round(float(bytes_of[chosen])), takes, reason)


def taken_db(search: Search, site: int, format: int, reference_db: float) -> float:
    """How far SQNR falls from `reference_db`, of the finest format everywhere, where one node has `format`."""
    losses = search.noise.losses[site]
    noise = search.noise.signal / 10 ** (reference_db / 10) if math.isfinite(reference_db) else 0.0
    more = max(float(losses[format] - losses[search.finest]), 0.0)
    return 10 * math.log10((noise + more) / noise) if noise > 0 else 0.0


def finite(decibels: float) -> float | None:
    return decibels if math.isfinite(decibels) else None
