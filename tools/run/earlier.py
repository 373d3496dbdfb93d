"""What an earlier run quantized, kept in the user's cache under the content of all that decided it.

Most of a run is spent on choosing: transforms, scales, rounders. A run that differs in what comes after (its data for
evaluation, its budget of RAM, its device, the form of its product) finds all of that where the run before left it.
Accuracy is measured anew each time, and the product is held to the integer model anew. Nothing is kept where passes are
checked (BEVEL_CHECKS), since what was not run cannot be checked, nor of more calibration data than `LIMIT`, nor of a
model larger than `ENTRY`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime

from bevel.backends.process import cache
from bevel.calib.data.dataset import Dataset
from bevel.passes.base import CHECKS, Work
from bevel.passes.graph.stored import NotStored, read, stored

KIND = "quantized"
LIMIT = 1 << 28  # bytes of calibration data
ENTRY = 1 << 26  # bytes of what is kept
CALIBRATION = "calibration"
PLAIN = (str, bytes, int, float, bool, type(None), Enum)


@dataclass(frozen=True)
class Earlier:
    """A place in the cache; none where `path` is None."""

    path: Path | None
    data: Dataset | None = None

    @staticmethod
    def of(work: Work, decides: object) -> Earlier:
        """That of a canonical float `work` with its data, for a run that `decides` tells from others."""
        if os.environ.get(CHECKS) or not isinstance(work.data, Dataset):
            return Earlier(None)
        model = gs.export_onnx(work.graph)
        if model.ByteSize() > ENTRY:
            return Earlier(None)
        held = (work.target, work.schemes, work.states, work.notes, work.transforms, decides)
        versions = (onnx.__version__, onnxruntime.__version__, np.__version__)
        try:
            parts = (model.SerializeToString(deterministic=True), *written(held), *versions, *samples(work.data))
        except NotStored:
            return Earlier(None)
        name = cache.digest((KIND, cache.sources_digest(cache.ALL_ROOMS), cache.tvm_version(), *parts))
        return Earlier(folder() / name, work.data)

    def read(self) -> Any | None:
        """What was kept there, if anything."""
        known = None if self.path is None else cache.read(self.path)
        if known is None:
            return None
        try:
            return read(known, {CALIBRATION: self.data})
        except NotStored:
            return None

    def keep(self, found: object) -> None:
        """Leave it for later runs. What cannot be stored, or is large, is not kept."""
        if self.path is None:
            return
        try:
            content = stored(found, {CALIBRATION: self.data})
        except NotStored:
            return
        if len(content) <= ENTRY:
            cache.write(self.path, content)


NEVER = Earlier(None)


def folder() -> Path:
    """Beside what else the cache holds, whose limit counts for all."""
    return cache.entries() / KIND


def samples(data: Dataset) -> Iterator[bytes | str]:
    """The data, run by run. Raises NotStored for more than `LIMIT`."""
    yield f"{len(data)} {data.together} {data.group} {data.notes}"
    taken = 0
    for place, run in enumerate(data):
        yield f"{data.begins(place)}"
        for name, array in run.items():
            taken += array.nbytes
            if taken > LIMIT:
                raise NotStored(f"more than {LIMIT} bytes of calibration data")
            yield from written((name, array))


def written(value: Any) -> Iterator[str | bytes]:
    """What tells `value` from others, the same in every process. Raises NotStored for what has no such form."""
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}"
        yield value.tobytes()
    elif isinstance(value, (*PLAIN, np.generic)):
        yield repr(value)
    elif isinstance(value, AbstractSet):
        yield f"set {len(value)}"
        yield from sorted(cache.digest(written(one)) for one in value)
    elif isinstance(value, Mapping):
        yield f"mapping {len(value)}"
        for pair in value.items():
            yield from written(pair)
    elif isinstance(value, list | tuple):
        yield f"sequence {len(value)}"
        for one in value:
            yield from written(one)
    elif (
        isinstance(value, type | FunctionType) and "<" not in value.__qualname__
    ):  # none that holds what it was made with
        yield f"{value.__module__}.{value.__qualname__}"
    elif is_dataclass(value):
        yield f"{type(value).__module__}.{type(value).__qualname__}"
        for field in fields(value):
            yield from written((field.name, getattr(value, field.name)))
    else:
        raise NotStored(f"a {type(value).__name__}")
