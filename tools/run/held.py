"""Samples that a program holds: arrays by the names of the model's inputs, or one sample after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bevel.calib.errors import UserError


def held(given: Mapping[str, ArrayLike] | Iterable[Mapping[str, ArrayLike]]) -> Mapping[str, NDArray[Any]]:
    """As arrays that count samples along axis 0. Raises UserError for anything else."""
    if isinstance(given, Mapping):
        return {str(name): as_array(name, values) for name, values in given.items()}
    if isinstance(given, np.ndarray) or not isinstance(given, Iterable):
        raise refused(given)
    rows = list(given)
    if not rows or any(not isinstance(row, Mapping) or row.keys() != rows[0].keys() for row in rows):
        raise refused(rows[0] if rows else rows)
    return {str(name): as_array(name, [as_array(name, row[name]) for row in rows]) for name in rows[0]}


def as_array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UserError(f"array {name!r}: {error}") from error


def refused(given: object) -> UserError:
    return UserError(
        f"samples are a path, arrays by the names of the model's inputs, or one or more samples of such arrays with "
        f"the same names; found {type(given).__name__}"
    )
