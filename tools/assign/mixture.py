"""The float model with weights and results rounded as an assignment says, put together from what single formats gave.

The weights of each site are those of the model that has their format everywhere, so that an assignment is scored
without quantizing again: a search asks for hundreds. Where rounding makes up for what came before it, what it would do
in company is not in it; the answers of a search are made for real.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnxruntime as ort

from bevel.passes.assign.probe import Array, Constants, Probe, open_session, parameter, with_parameters
from bevel.passes.assign.problem import Assignment
from bevel.passes.assign.results import rounded
from bevel.passes.exchange.export import export
from bevel.tools.accuracy.outputs import with_scores
from bevel.tools.assign.score import Reference, score
from bevel.tools.assign.trial import Formats, Maker

KEPT = 64  # sessions: many assignments differ in their weights alone


@dataclass(frozen=True)
class Mixture:
    """probe: of the sites in their order, with the constants of each format."""

    maker: Maker
    probe: Probe
    sessions: dict[tuple[tuple[str, str], ...], ort.InferenceSession] = field(default_factory=dict, compare=False)

    def sqnr_db(self, assignment: Assignment, formats: Formats, samples: Reference) -> float:
        session = self.session({site: one for site, one in formats.items() if site.part == "result"})
        chosen = [self.probe.values[site][format] for site, format in enumerate(assignment)]
        constants = {place: array for one in chosen if isinstance(one, dict) for place, array in one.items()}
        return score(samples, self.runs(session, constants, samples)).sqnr_db

    def session(self, results: Formats) -> ort.InferenceSession:
        """Of the float model with all results rounded, and constants as inputs."""
        key = tuple((site.node, one.name) for site, one in results.items())
        if key not in self.sessions:
            if len(self.sessions) >= KEPT:
                self.sessions.pop(next(iter(self.sessions)))
            model = with_scores(export(rounded(self.maker.planned(results))))
            self.sessions[key] = open_session(with_parameters(model, self.probe.exact))
        return self.sessions[key]

    def runs(self, session: ort.InferenceSession, changed: Constants, samples: Reference) -> Iterator[dict[str, Array]]:
        feeds = {parameter(place): array for place, array in {**self.probe.exact, **changed}.items()}
        names = [output.name for output in session.get_outputs()]
        for sample in samples.samples:
            yield dict(zip(names, session.run(names, {**sample, **feeds}), strict=True))
