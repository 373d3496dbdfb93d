"""What the command line asks for, in types; importing this costs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bevel.calib.errors import UserError
from bevel.tools.budgets import CANDIDATES, NO_BUDGETS, Budgets

RANGE_METHODS = ("mse", "minmax", "percentile", "entropy")
RECIPES = ("int8",)

EdgeFormat = Literal["float", "quantized"]
InputFormat = Literal["float", "quantized", "uint8"]

_SIZE = re.compile(r"(\d{1,12})\s*([kKmM]?)(?:i?[bB])?")
_COUNT = re.compile(r"\d{1,9}")  # of what a tensor can have along an axis
_FACTOR = {"": 1, "k": 1024, "m": 1024 * 1024}


@dataclass(frozen=True)
class Options:
    """One run of `optimize`. Paths are as the user gave them."""

    model: Path
    target: str
    output: Path
    calib: Path | Literal["random"] | None = None
    calib_samples: int | None = None  # the first so many; None: all of them
    eval: Path | None = None
    eval_samples: int | None = None  # None: all of them
    batch: int = 1
    dims: tuple[tuple[str, int], ...] = ()
    range: str = "mse"
    bias_correction: bool = True
    weights: str = "int8"
    activations: str = "int8"
    budgets: Budgets = NO_BUDGETS
    formats: tuple[str, ...] = CANDIDATES  # of weights, for the search that budgets ask for
    sensitivity: str = "sqnr"
    format_file: Path | None = None  # TOML: formats of single nodes
    switchable: tuple[int, ...] = ()  # bits of weights that the product can change to, besides 8
    inputs: InputFormat = "float"
    outputs: EdgeFormat = "float"
    outputs_at: tuple[str, ...] = ()  # tensors or nodes to cut the model at; none: its own outputs
    device: str | None = None  # None: the first that works; "none": do not measure
    vectors: int = 8
    flash: int | None = None
    ram: int | None = None
    max_ram: int | None = None  # None: what the target has
    name: str | None = None
    tune: int | None = None  # candidates to measure for each kernel; None: take what ships
    tune_database: Path | None = None  # None: one in the user's cache
    seed: int = 0
    recipe: str = "int8"
    command: str = ""  # as typed, for the manifest

    @property
    def sources(self) -> tuple[Path, ...]:
        """The user's files that a run reads."""
        given = (self.model, self.calib, self.eval, self.format_file)
        return tuple(path for path in given if isinstance(path, Path))


def edge(inputs: InputFormat) -> EdgeFormat:
    """What becomes of float inputs: those that take uint8 are integers of their own already."""
    return "quantized" if inputs == "quantized" else "float"


def parse_size(text: str) -> int:
    """'64k' or '1M' or '65536' in bytes; UserError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise UserError(f"'{text}' is not a memory size; write bytes, or 64k, or 1M")
    return int(match[1]) * _FACTOR[match[2].lower()]


def parse_dims(texts: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """('seq=256',) as (('seq', 256),); UserError for anything that is not NAME=N with N at least 1."""
    pairs = []
    for text in texts:
        name, separator, number = text.rpartition("=")
        if not (separator and name and _COUNT.fullmatch(number) and int(number) > 0):
            raise UserError(f"--dim {text}: write NAME=N, the name of a dynamic dimension and its size")
        pairs.append((name, int(number)))
    return tuple(pairs)


def parse_widths(text: str | None) -> tuple[int, ...]:
    """'8,6,4,2' as (6, 4, 2): the widths besides 8, from wide to narrow; UserError for others than 2 to 8 bits."""
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    bits = sorted({int(word) for word in words if _COUNT.fullmatch(word)}, reverse=True)
    if len(bits) != len(words) or bits[0] != 8 or bits[-1] < 2 or len(bits) < 2:
        raise UserError(f"--switchable {text}: write 8 and other widths from 2 to 7, such as 8,6,4,2")
    return tuple(bits[1:])
