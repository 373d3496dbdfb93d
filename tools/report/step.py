"""What the report says of a product that goes step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bevel.backends.program.resources import Resources, from_keyed


@dataclass(frozen=True)
class Step:
    """`columns` of `input` along `axis` are new in each; the full form sees a `window`, which has come after `steps`.
    full: what a run of that spends; None where nobody knows, and why. late: by how many of its columns each output is
    late that looks ahead."""

    input: str
    axis: int
    columns: int
    window: int
    steps: int
    full: Resources | None
    why: str | None = None
    late: Mapping[str, int] = field(default_factory=dict)

    def rows(self, spent: Resources | None) -> list[tuple[str, str]]:
        """For a table. `spent`: of a step."""
        told = f"{self.columns} of {self.window} along axis {self.axis} of {self.input}; all after {self.steps} steps"
        rows = [("step", told), *(("late", f"{name}: {columns} columns") for name, columns in self.late.items())]
        if self.full is None:
            return [*rows, ("full form", f"not measured: {self.why}")]
        for name, amount in self.full.items():
            one = None if spent is None else spent.get(name)
            share = f"; a step is {100 * one / amount:.1f} % of it" if one and amount else ""
            rows.append(("full form", f"{name.told(amount)} for one window{share}"))
        return rows


def step_from(fields: dict[str, Any] | None) -> Step | None:
    """From report.json."""
    if fields is None:
        return None
    full = fields["full"]
    return Step(**(fields | {"full": None if full is None else from_keyed(full)}))
