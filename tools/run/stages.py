"""Named, timed stages of a run, and whoever shows them while they happen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

from bevel.backends.process.interruption import check
from bevel.tools.command.interruption import heeded
from bevel.tools.report.report import StageTime

Advance = Callable[[int, int], None]  # (done, total)


class NamedAdvance(Protocol):
    """An Advance that may be told what is being done."""

    def __call__(self, done: int, total: int, part: str = "") -> None: ...


class Display(Protocol):
    def begin(self, stage: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...

    def doing(self, part: str) -> None: ...

    def say(self, line: str) -> None: ...


class Silent:
    """Shows nothing: for output that is not a terminal, where a bar would be noise."""

    def begin(self, stage: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass

    def doing(self, part: str) -> None:
        pass

    def say(self, line: str) -> None:
        pass


class Told(Silent):
    """Tells a function the stage, how much of it is done, and of how much (0: not known yet)."""

    def __init__(self, tell: Callable[[str, int, int], object]) -> None:
        self._tell, self._stage = tell, ""

    def begin(self, stage: str) -> None:
        self._stage = stage
        self._tell(stage, 0, 0)

    def advance(self, done: int, total: int) -> None:
        self._tell(self._stage, done, total)


class Bars:
    """One progress bar on stderr that names the stage and the time it has left, and is gone at the end."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<13}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[part]}"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, part="")

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
        self._task = self._progress.add_task(stage, total=None, part="")

    def advance(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def doing(self, part: str) -> None:
        self._progress.update(self._task, part=escape(part))

    def say(self, line: str) -> None:
        """A line above the bar, which stays."""
        self._progress.console.print(line, markup=False, highlight=False)


@dataclass
class Stages:
    """The seconds of each stage that has ended, in order."""

    display: Display = field(default_factory=Silent)
    seconds: dict[str, float] = field(default_factory=dict)

    def listed(self) -> tuple[StageTime, ...]:
        return tuple(StageTime(name, round(spent, 3)) for name, spent in self.seconds.items())

    @contextmanager
    def __call__(self, stage: str) -> Iterator[NamedAdvance]:
        """Time the body as `stage`; yields what the body calls with (done, total), and perhaps the name of a part."""
        self.display.begin(stage)
        start = time.perf_counter()
        with heeded():
            yield self._advance
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def _advance(self, done: int, total: int, part: str = "") -> None:
        check()
        if part:
            self.display.doing(part)
        self.display.advance(done, total)
