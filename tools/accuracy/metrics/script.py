"""A metric of the user's own: a Python file with a function of outputs and labels.

    def metric(outputs, y): ...            # or metric(outputs, y, inputs)
    NAME = "f1"                            # in tables; default: the file's name, also for one of --metric
    UNIT = ""                              # behind the figure
    HIGHER_IS_BETTER = True
    SHARE = False                          # whether it lies between 0 and 1: losses are then percentage points

outputs and inputs: {name: array of all samples, batch first}, read from files as they are touched, so that they may be
larger than memory; y: as in --eval, or None. It is called once for each model and returns one number.
"""

from __future__ import annotations

import inspect
import math
import os
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.tools.accuracy.metrics.metric import METRICS, Metric, Run

Array = NDArray[Any]
Setting = TypeVar("Setting", str, bool)

FUNCTION = "metric"


@dataclass(frozen=True, eq=False)
class Script:
    """What a file says."""

    file: Path
    metric: Metric
    call: Callable[..., object]
    takes_inputs: bool

    def __call__(self, outputs: Mapping[str, Array], labels: Array | None, inputs: Mapping[str, Array]) -> float:
        """Raises UserError for whatever goes wrong in the file, in one line."""
        given = (dict(outputs), labels, *((dict(inputs),) if self.takes_inputs else ()))
        try:
            found = self.call(*given)
        except (Exception, SystemExit) as error:
            raise told(self.file, error) from error
        try:
            figure = float(found)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise UserError(f"{self.file}: {FUNCTION} returned {type(found).__name__}, and should one number") from None
        if math.isnan(figure):
            raise UserError(f"{self.file}: {FUNCTION} returned nan, and should a number")
        return figure


def read_script(file: Path) -> Script:
    """Raises UserError, in one line that names the file, where it cannot be read, run, or has no fitting function."""
    module = ModuleType("metric_script")
    module.__file__ = str(file)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    try:
        exec(compile(text, str(file), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        raise told(file, error) from error
    call = getattr(module, FUNCTION, None)
    if not callable(call):
        raise UserError(f"{file}: has no function {FUNCTION}(outputs, y)")
    name = setting(module, file, "NAME", file.stem)
    name = file.name if name in METRICS else name
    higher, share = setting(module, file, "HIGHER_IS_BETTER", True), setting(module, file, "SHARE", False)
    metric = Metric(name, setting(module, file, "UNIT", ""), higher, share)
    return Script(file, metric, call, takes_inputs(file, call))


def setting(module: ModuleType, file: Path, name: str, default: Setting) -> Setting:
    found = getattr(module, name, default)
    if not isinstance(found, type(default)):
        wanted = "a text" if isinstance(default, str) else "True or False"
        raise UserError(f"{file}: {name} is {found!r}, and should be {wanted}")
    return found


def takes_inputs(file: Path, call: Callable[..., object]) -> bool:
    """Whether a call with three arguments fits, else with two."""
    try:
        signature = inspect.signature(call)
    except ValueError:  # of a builtin
        return False
    for count in (3, 2):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count == 3
    raise UserError(f"{file}: {FUNCTION}{signature} should take (outputs, y) or (outputs, y, inputs)")


def told(file: Path, error: BaseException) -> UserError:
    """'metric.py:7: KeyError: 'logits'', with the last line of the file that was on the way."""
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else None
    said = str(error.msg if isinstance(error, SyntaxError) else error).strip().splitlines()
    where = f"{file}:{line}" if line is not None else str(file)
    return UserError(": ".join([where, type(error).__name__, *said[:1]]))


class ScriptMeter:
    """Keeps outputs in temporary files until the figure is asked for."""

    def __init__(self, script: Script, labels: Array | None, runs: int) -> None:
        self._script, self._labels, self._runs = script, labels, runs
        self._outputs: dict[str, Array] = {}
        self._inputs: dict[str, Array] = {}
        self._done = 0

    def add(self, run: Run) -> None:
        for name, value in run.outputs.items():
            self._keep(self._outputs, name, value, run.samples)
        if self._script.takes_inputs:
            for name, value in run.inputs.items():
                self._keep(self._inputs, name, value, run.samples)
        self._done += 1

    def _keep(self, kept: dict[str, Array], name: str, value: Array, samples: int) -> None:
        """With the samples of a run in its first axis, which it has already or gets."""
        batched = value if value.ndim and value.shape[0] == samples else value[None]
        if name not in kept:
            kept[name] = in_file((self._runs, *batched.shape), batched.dtype)
        kept[name][self._done] = batched

    def value(self) -> float:
        outputs, inputs = ({name: joined(one[: self._done]) for name, one in kept.items()} for kept in self._kept)
        return self._script(outputs, self._labels, inputs)

    @property
    def _kept(self) -> tuple[dict[str, Array], dict[str, Array]]:
        return self._outputs, self._inputs

    @property
    def told(self) -> str:
        return f"{FUNCTION} of {self._script.file.name}"


def in_file(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array in a file that is gone with it. Raises UserError where there is no room, before any of it is missed."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="bevel-metric-") as stream:
            os.posix_fallocate(stream.fileno(), 0, prod(shape) * dtype.itemsize)
            return np.memmap(stream, dtype, "w+", shape=shape)
    except OSError as error:
        raise UserError(f"outputs for the metric cannot be kept in temporary files: {error.strerror}") from error


def joined(runs: Array) -> Array:
    """[runs, samples of each, ...] as [samples, ...]."""
    return runs.reshape(runs.shape[0] * runs.shape[1], *runs.shape[2:])
