"""One run of `optimize` on hostile input, in this process: built and right, refused in one line, or a fault."""

from __future__ import annotations

import errno
import resource
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bevel.calib.errors import UserError
from bevel.tools.compile import compile_model
from bevel.tools.report.report import Report
from bevel.tools.run.options import Options
from bevel.tools.run.stages import Stages

LIMIT_S = 20  # of processor time
PATIENCE = 6  # times as long on the clock, where other work takes the processor
MEMORY = 12 * 2**30  # bytes of address space beside what there was: a size that a mutant made up fails at once

LEAST_DB = 20.0  # of a library with float operators against integer.onnx: a code that tips is one of few

Verdict = Literal["built", "refused", "traceback", "wrong", "slow", "litter"]
FAULTS = ("traceback", "wrong", "slow", "litter")


@dataclass(frozen=True)
class Outcome:
    verdict: Verdict
    text: str = ""
    report: Report | None = None

    @property
    def is_fault(self) -> bool:
        return self.verdict in FAULTS


class SlowError(Exception):
    """It took too long."""


def attempt(model: Path, calib: Path | None, target: str, options: dict[str, Any]) -> Outcome:
    """`optimize` with `options`, into a folder beside `model`."""
    output = model.parent / "out"
    spent = processor_time()
    try:
        with limited():
            given = Options(model, target=target, output=output, calib=calib, eval=calib, **options)
            report = compile_model(given, Stages())
    except UserError as error:
        outcome = refusal(str(error), model.parent)
    except OSError as error:
        known = error.errno in (errno.ENOSPC, errno.EACCES, errno.EPERM)
        outcome = Outcome("refused" if known else "traceback", traceback.format_exc())
    except SlowError:
        return Outcome("slow", f"stopped after {LIMIT_S * PATIENCE} s on the clock")
    except Exception:  # whatever else reaches the user is a fault, and fails the test with its traceback
        outcome = Outcome("traceback", traceback.format_exc())
    else:
        outcome = judged(report)
    spent = processor_time() - spent
    return outcome if spent <= LIMIT_S or outcome.is_fault else Outcome("slow", f"{spent:.0f} s of processor time")


def refusal(line: str, folder: Path) -> Outcome:
    """A refusal is one line, and leaves nothing behind."""
    left = [path.name for path in folder.iterdir() if path.is_dir()]
    if left:
        return Outcome("litter", f"{line}\nleft behind: {left}")
    if not line.strip() or len(line.strip().splitlines()) > 1:
        return Outcome("traceback", f"not one line: {line!r}")
    return Outcome("refused", line)


def judged(report: Report) -> Outcome:
    """Every output element equals integer.onnx. With float operators, `optimize` has held each to its bound, and what
    remains is the library's own distance."""
    measured, library = report.measurement, report.library
    if measured is None or not measured.mismatches:
        return Outcome("built", report=report)
    if library is None:
        return Outcome("wrong", f"{measured.mismatches} elements differ from integer.onnx", report)
    if library.integer_db is not None and library.integer_db < LEAST_DB:
        return Outcome("wrong", f"the library is {library.integer_db:.1f} dB from integer.onnx", report)
    return Outcome("built", report=report)


def processor_time() -> float:
    """Seconds of this process and of the compilers and simulators that it waited for."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)


def address_space() -> int:
    """Bytes that this process has mapped."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


@contextmanager
def limited() -> Iterator[None]:
    """SlowError in the body when its time on the clock is over; MemoryError where it asks for more than `MEMORY`
    beside what earlier tests have left in this process: a thread that finds no memory while it starts leaves the one
    that waits for it waiting."""

    def stop(number: int, frame: object) -> None:
        raise SlowError

    previous = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = address_space() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S * PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, previous)
