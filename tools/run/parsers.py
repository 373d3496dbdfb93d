"""From what people write to what an option keeps. Each takes what it returns, too, and refuses the rest by name."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bevel.backends.program.resources import Resources
from bevel.calib.errors import UserError
from bevel.tools.run.budgets import parse_formats, parse_latency

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Samples = str | os.PathLike[str] | Mapping[str, ArrayLike] | Iterable[Mapping[str, ArrayLike]]
    Held = Path | Mapping[str, NDArray[Any]]

File = str | os.PathLike[str]
Dims = tuple[tuple[str, int], ...]
States = tuple[tuple[str, str], ...]  # input, output; NO_STATE among them: none is found by its name
Constants = tuple[tuple[str, Any], ...]  # input, its value

_SIZE = re.compile(r"(\d{1,12})\s*([kKmM]?)(?:i?[bB])?")
_COUNT = re.compile(r"\d{1,9}")  # of what a tensor can have along an axis
_FACTOR = {"": 1, "k": 1024, "m": 1024 * 1024}


def path(given: File) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"{given!r} is no path")
    return Path(given)


def maybe_path(given: File | None) -> Path | None:
    return None if given is None else path(given)


def samples(given: Samples | Held | None) -> Held | None:
    """A path; arrays by the names of the model's inputs; or samples one by one, each such arrays, which are stacked."""
    if given is None:
        return None
    if isinstance(given, str | os.PathLike):
        return None if given == "" else Path(given)
    from bevel.tools.run.held import held

    return held(given)


def samples_or_random(given: Samples | Held | None) -> Held | Literal["random"] | None:
    return "random" if isinstance(given, str) and given == "random" else samples(given)


def size(given: int | str | None) -> int | None:
    """Bytes."""
    if isinstance(given, str):
        return parse_size(given)
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 1):
        raise UserError(f"{given!r} is not a memory size; give bytes, or a text such as '64k'")
    return given


def parse_size(text: str) -> int:
    """'64k' or '1M' or '65536' in bytes; UserError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise UserError(f"'{text}' is not a memory size; write bytes, or 64k, or 1M")
    return int(match[1]) * _FACTOR[match[2].lower()]


def names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def dims(given: Mapping[str, int] | Sequence[str] | Dims) -> Dims:
    """{'seq': 256} or ('seq=256',) as (('seq', 256),); UserError for anything else and sizes below 1."""
    pairs = given.items() if isinstance(given, Mapping) else given
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        return (parse_dim(str(pairs)),)
    return tuple(parse_dim(one if isinstance(one, str) else f"{one[0]}={one[1]}") for one in pairs)


def parse_dim(text: str) -> tuple[str, int]:
    name, separator, number = text.rpartition("=")
    if not (separator and name and _COUNT.fullmatch(number) and int(number) > 0):
        raise UserError(f"--dim {text}: write NAME=N, the name of a dynamic dimension and its size")
    return name, int(number)


NO_STATE = ("none", "")


def states(given: Mapping[str, str] | Sequence[str] | States) -> States:
    """{'h': 'hn'} or ('h=hn',) as (('h', 'hn'),); UserError for anything else."""
    pairs = given.items() if isinstance(given, Mapping) else (given,) if isinstance(given, str) else given
    return tuple(parse_state(one) if isinstance(one, str) else (str(one[0]), str(one[1])) for one in pairs)


def parse_state(text: str) -> tuple[str, str]:
    into, separator, out = text.partition("=")
    if text != NO_STATE[0] and not (into and separator and out):
        raise UserError(f"--state {text}: write IN=OUT, an input and the output that it is in the next run, or none")
    return into, out


def constants(given: Mapping[str, Any] | Sequence[str] | Constants) -> Constants:
    """{'sr': 16000} or ('sr=16000',) or ('ids=[1, 2]',) as (('sr', 16000),); UserError for anything else."""
    pairs = given.items() if isinstance(given, Mapping) else (given,) if isinstance(given, str) else given
    return tuple(parse_constant(one) if isinstance(one, str) else (str(one[0]), one[1]) for one in pairs)


def parse_constant(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    if not (name and separator) or not isinstance(found, bool | int | float | list):
        raise UserError(f"--constant {text}: write NAME=VALUE, an input and a number, or [a, list] of its shape")
    return name, found


def widths(given: str | Sequence[int] | None) -> tuple[int, ...]:
    """'8,6,4,2' or (8, 6, 4, 2) or (6, 4, 2) as (6, 4, 2), from wide to narrow; UserError for other widths."""
    if given is None or given == ():
        return ()
    return parse_widths(given if isinstance(given, str) else ",".join(map(str, sorted({8, *given}))))


def parse_widths(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    bits = sorted({int(word) for word in words if _COUNT.fullmatch(word)}, reverse=True)
    if len(bits) != len(words) or bits[0] != 8 or bits[-1] < 2 or len(bits) < 2:
        raise UserError(f"--switchable {text}: write 8 and other widths from 2 to 7, such as 8,6,4,2")
    return tuple(bits[1:])


def latency(given: str | Resources | None) -> Resources | None:
    """Instructions or seconds, as one resource."""
    if given is not None and not isinstance(given, str | Resources):
        raise UserError(f"{given!r} is no latency; write seconds as '2ms', or instructions as '300ki'")
    return parse_latency(given) if isinstance(given, str) else given


def formats(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """'int8,int4' or ('int8', 'int4') as the latter; () for None."""
    return () if given is None or given == () else parse_formats(given if isinstance(given, str) else ",".join(given))
