"""A metric: what its figure means, and how it grows over the runs of a model. Importing this costs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """unit: of its figure; higher: whether more is better; share: whether it lies between 0 and 1, so that a loss is
    counted in percentage points, and not in percent of the float model's figure."""

    name: str
    unit: str
    higher: bool
    share: bool

    def loss(self, exact: float, found: float) -> float:
        """How much worse `found` is than the float model's figure: a fraction of 1 for a share, else of `exact`."""
        worse = exact - found if self.higher else found - exact
        if self.share or worse == 0:
            return worse
        return worse / abs(exact) if exact else float("inf") * (1 if worse > 0 else -1)

    @property
    def loss_unit(self) -> str:
        return "percentage points" if self.share else "percent of float's"


@dataclass(frozen=True, eq=False)
class Run:
    """One run of `samples` samples: what went in, what one model made of it, what the float model did, and `labels`,
    the rows of `y` for these samples, where there is one for each."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    exact: Mapping[str, Array]
    labels: Array | None
    samples: int


class Meter(Protocol):
    """The figure of one model, run by run, in memory that does not grow with the size of its outputs."""

    def add(self, run: Run) -> None:
        """Raises UserError for outputs, inputs or labels that the metric has no meaning for."""

    def value(self) -> float:
        """Over all runs so far. Raises UserError where they do not make a figure."""

    @property
    def told(self) -> str:
        """What was compared with what, in a few words."""


TOP1 = Metric("top1", "share", higher=True, share=True)
SQNR = Metric("sqnr", "dB", higher=True, share=False)
PERPLEXITY = Metric("perplexity", "", higher=False, share=False)
AUC = Metric("auc", "", higher=True, share=True)
MSE = Metric("mse", "squared units of the output", higher=False, share=False)
METRICS = {one.name: one for one in (TOP1, PERPLEXITY, AUC, MSE, SQNR)}
