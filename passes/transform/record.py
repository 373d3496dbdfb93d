"""What a transform did, for the report."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10


@dataclass(frozen=True)
class Flatness:
    """Of one tensor, as `flatness` has it; None where it holds zeros alone, or too few vectors for a covariance."""

    peak: float | None
    kurtosis: float | None
    log_qsur: float | None


@dataclass(frozen=True)
class TensorFlatness:
    """Of a tensor that a product reads, before and after."""

    tensor: str
    before: Flatness
    after: Flatness


@dataclass(frozen=True)
class TransformRecord:
    """transform: the pass; sites: how many places it changed; largest, relative: how far the float model's outputs
    moved by it, and over the largest element of theirs; tensors: those whose values it changed; operations:
    additions and multiplications that a run has more than before."""

    transform: str
    sites: int
    largest: float
    relative: float
    tensors: tuple[TensorFlatness, ...] = ()
    operations: int = 0

    @property
    def flatter_db(self) -> float:
        """By how much the tensors' largest values fell over their RMS, on average."""
        pairs = [(one.before.peak, one.after.peak) for one in self.tensors]
        ratios = [20 * log10(before / after) for before, after in pairs if before and after]
        return sum(ratios) / len(ratios) if ratios else 0.0
