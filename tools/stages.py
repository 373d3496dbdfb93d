"""Named, timed stages of a run, and whoever shows them while they happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

from bevel.tools.interruption import heeded
from bevel.tools.report import Stage

Advance = Callable[[int, int], None]  # (done, total)


class Display(Protocol):
    def begin(self, stage: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...


class Silent:
    """Shows nothing: for output that is not a terminal, where a bar would be noise."""

    def begin(self, stage: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


class Bars:
    """One progress bar on stderr that names the stage and the time it has left, and is gone at the end."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<13}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None)

    @property
    def tasks(self) -> list[Task]:
        return self._progress.tasks

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str) -> None:
        self._progress.remove_task(self._task)  # a task keeps its total for good
        self._task = self._progress.add_task(stage, total=None)

    def advance(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


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
        with heeded():
            yield self.display.advance
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
