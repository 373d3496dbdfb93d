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
from bevel.tools.options import Options
from bevel.tools.report import Report
from bevel.tools.stages import Stages

LIMIT_S = 20  # of processor time
PATIENCE = 6  # times as long on the clock, where other work takes the processor
MEMORY = 12 * 2**30  # bytes of address space: a size that a mutant made up fails at once

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
            report = compile_model(Options(model, target, output, calib, eval=calib, **options), Stages())
    except UserError as error:
        outcome = refusal(str(error), model.parent)
    except OSError as error:
        known = error.errno in (errno.ENOSPC, errno.EACCES, errno.EPERM)
        outcome = Outcome("refused" if known else "traceback", traceback.format_exc())
    except SlowError:
        return Outcome("slow", f"stopped after {LIMIT_S * PATIENCE} s on the clock")
    except Exception:
        outcome = Outcome("traceback", traceback.format_exc())
    else:
        outcome = judged(report, output)
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


def judged(report: Report, folder: Path) -> Outcome:
    """Every output element equals integer.onnx; float operators may differ as the report allows."""
    measured = report.measurement
    if measured is not None and measured.mismatches:
        worst = island_difference(folder)
        if not has_islands(report) or worst > 0.01:
            return Outcome("wrong", f"{measured.mismatches} elements differ, worst {worst:.3g} of the range", report)
    return Outcome("built", report=report)


def has_islands(report: Report) -> bool:
    return any("float kernel" in note for node in report.nodes for note in node.notes)


def island_difference(folder: Path) -> float:
    from tempfile import TemporaryDirectory

    import numpy as np

    from bevel.backends import target as targets
    from bevel.backends.artifact import from_json
    from bevel.backends.devices.native import build_harness, outputs
    from bevel.backends.toolchain import for_target
    from bevel.tools import manifest, vectors

    made = manifest.read(folder)
    target = targets.load(made.settings["target"])
    if target.kind != "cpu":
        return 1e9
    built, tests = from_json(made.artifact, folder), vectors.load(folder)
    with TemporaryDirectory() as name:
        build_harness(built, for_target(target), Path(name), static=False)
        got = outputs(built, tests, Path(name))
    worst = 0.0
    for key, want in tests.expected.items():
        w, g = want.astype(np.float64), got[key].astype(np.float64)
        ok = (w == g) | (np.isnan(w) & np.isnan(g))
        d = np.where(ok, 0, np.abs(w - g))
        f = np.isfinite(w)
        r = float(np.ptp(w[f])) if f.any() else 1.0
        worst = max(worst, float(np.nan_to_num(d, nan=1e9, posinf=1e9).max(initial=0)) / max(r, 1e-6))
    return worst


def processor_time() -> float:
    """Seconds of this process and of the compilers and simulators that it waited for."""
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usages)


@contextmanager
def limited() -> Iterator[None]:
    """SlowError in the body when its time on the clock is over; MemoryError where it asks for more than `MEMORY`."""

    def stop(number: int, frame: object) -> None:
        raise SlowError

    previous = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S * PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, previous)
