"""What a model may cost and must still do: the budgets of the command line, in types; importing this costs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from bevel.backends.program.resources import NOTHING, Resource, Resources
from bevel.calib.errors import UserError

SENSITIVITIES = ("sqnr", "kl", "hessian-trace", "hessian-eigenvalue")
SOLVERS = ("milp", "greedy", "bisect", "genetic")
WORK = (Resource.INSTRUCTIONS, Resource.LATENCY)  # what an inference spends: one of them, as a device counts it
CANDIDATES = ("int8", "int6", "int5", "int4", "int3", "int2")  # of weights, most accurate first
RESULTS = ("int8", "int16")

_LATENCY = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s*(s|ms|us|i|ki|Mi|Gi)")
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_INSTRUCTIONS = {"i": 1, "ki": 1_000, "Mi": 1_000_000, "Gi": 1_000_000_000}


@dataclass(frozen=True)
class Budgets:
    """costs: the most that a product may take and one inference may spend; accuracy: the least fraction of right
    answers; drop: the largest fraction of answers fewer than the float model has right; sqnr: dB, the least. None: no
    such budget."""

    costs: Resources = NOTHING
    accuracy: float | None = None
    drop: float | None = None
    sqnr: float | None = None

    @property
    def work(self) -> Resources:
        """The budget of one inference: instructions or a latency, if there is one."""
        return self.costs.only(*WORK)

    @property
    def of_accuracy(self) -> bool:
        return self.accuracy is not None or self.drop is not None or self.sqnr is not None

    def with_ram(self, bytes: int | None) -> Budgets:
        """These, and one of RAM."""
        return self if bytes is None else replace(self, costs=self.costs | {Resource.RAM: bytes})

    @property
    def given(self) -> bool:
        return bool(self.costs) or self.of_accuracy


NO_BUDGETS = Budgets()


def parse_latency(text: str) -> Resources:
    """'2ms', '500us' or '0.1s' in seconds, '300ki' or '2.5Mi' or '3000000i' in (decimal) instructions."""
    match = _LATENCY.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise UserError(f"'{text}' is no latency; write seconds as 2ms or 500us, or instructions as 300ki or 3Mi")
    if match[2] in _SECONDS:
        return Resources({Resource.LATENCY: float(match[1]) * _SECONDS[match[2]]})
    return Resources({Resource.INSTRUCTIONS: round(float(match[1]) * _INSTRUCTIONS[match[2]])})


def parse_formats(text: str | None) -> tuple[str, ...]:
    """'int8,int4' as ('int8', 'int4'); the default candidates for None."""
    if text is None:
        return CANDIDATES
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise UserError(f"--formats {text}: write names separated by commas, such as int8,int4,e2m1")
    return names


def check_metric(metric: str | None, script: bool, evaluation: bool) -> None:
    """UserError for two metrics, or one without samples to measure it on."""
    if metric is not None and script:
        raise UserError("--metric and --metric-script: give one of them")
    if (metric is not None or script) and not evaluation:
        raise UserError(f"--metric{'-script' if script else ''} is measured: give samples with --eval FILE")


def check_budgets(budgets: Budgets, evaluation: bool, formats: bool) -> None:
    """UserError for budgets of accuracy without samples to measure it on, and for candidates without any budget."""
    if budgets.of_accuracy and not evaluation:
        raise UserError("--min-accuracy, --max-drop and --min-sqnr are measured: give samples with --eval FILE")
    if formats and not budgets.given:
        raise UserError(
            "--formats lists what a search may choose from: give it a budget, such as --max-flash 64k or --max-drop "
            "0.5; one format for all is --weights FORMAT"
        )
