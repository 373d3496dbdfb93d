"""How far a build is, and what it does at the moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Tell = Callable[[int, int, str], None]  # (steps done, all steps, the name of the one that begins)


def silent(done: int, total: int, name: str) -> None:
    pass


@dataclass
class Steps:
    """Counts the steps of one build. `total` is known before the first; steps that a cache spares are left out."""

    tell: Tell = silent
    total: int = 0
    done: int = 0

    def begin(self, name: str) -> None:
        self.tell(self.done, max(self.total, self.done + 1), name)
        self.done += 1
