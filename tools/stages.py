"""Named, timed stages of a run, and whoever shows them while they happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from bevel.tools.report import Stage

Advance = Callable[[int, int], None]  # (done, total)


class Display(Protocol):
    def begin(self, stage: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...

    def end(self, stage: str, seconds: float) -> None: ...


class Silent:
    """Shows nothing: for output that is not a terminal, where a bar would be noise."""

    def begin(self, stage: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass

    def end(self, stage: str, seconds: float) -> None:
        pass


class Bars:
    """One progress bar on stderr that names the stage and the time it has left, and is gone at the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description:<13}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str) -> None:
        self._progress.reset(self._task, description=stage, total=None, completed=0)

    def advance(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def end(self, stage: str, seconds: float) -> None:
        self._progress.console.print(f"{stage:<13} {seconds:7.2f} s")


@dataclass
class Stages:
    """The seconds of each stage that has ended, in order."""

    display: Display = field(default_factory=Silent)
    seconds: dict[str, float] = field(default_factory=dict)

    def listed(self) -> tuple[Stage, ...]:
        return tuple(Stage(name, round(spent, 3)) for name, spent in self.seconds.items())

    @contextmanager
    def __call__(self, name: str) -> Iterator[Advance]:
        """Time the body as stage `name`; yields what the body calls with (done, total)."""
        self.display.begin(name)
        start = time.perf_counter()
        yield self.display.advance
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.display.end(name, self.seconds[name])
