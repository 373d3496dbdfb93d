from __future__ import annotations

import ctypes
import io

import pytest
from rich.console import Console

from bevel.tools.run.stages import Bars, Stages


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, stage: str) -> None:
        self.lines.append(stage)

    def advance(self, done: int, total: int) -> None:
        self.lines.append(f"{done}/{total}")

    def doing(self, part: str) -> None:
        self.lines.append(part)

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_stages_are_timed_in_their_order_and_pass_progress_on() -> None:
    log = Log()
    stages = Stages(log)
    with stages("load"):
        pass
    with stages("observe") as advance:
        advance(1, 2)
    assert [stage.name for stage in stages.listed()] == ["load", "observe"]
    assert all(stage.seconds >= 0 for stage in stages.listed())
    assert log.lines == ["load", "observe", "1/2"]


def test_a_stage_that_fails_is_not_listed() -> None:
    stages = Stages()
    with pytest.raises(ValueError), stages("load"):
        raise ValueError
    assert stages.listed() == ()


def test_a_bar_starts_again_with_each_stage_and_is_gone_at_the_end() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80)
    with Bars(console) as bars:
        stages = Stages(bars)
        with stages("observe") as advance:
            advance(256, 256)
        with stages("build"):
            assert [(task.description, task.total) for task in bars.tasks] == [("build", None)]
    text = written.getvalue()
    assert text.endswith("\x1b[2K") and "error" not in text


def test_an_interruption_that_a_callback_lost_ends_its_stage() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Stages()("measure"):
        ctypes.CFUNCTYPE(None)(interrupted)()


def test_a_bar_shows_what_is_being_done() -> None:
    written = io.StringIO()
    with Bars(Console(file=written, force_terminal=True, width=120)) as bars, Stages(bars)("build") as advance:
        bars.say("first build [x]")
        advance(3, 7, "net_kernels.c [x]")
    assert "first build [x]\n" in written.getvalue()
    assert "3/7" in written.getvalue() and "net_kernels.c [x]" in written.getvalue()
