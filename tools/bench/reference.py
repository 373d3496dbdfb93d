"""Another system's numbers for the same networks, and ours as fractions of them.

The file is JSON, sizes in bytes, instructions of one inference:

    {"<network>": {"macs": 12501632,
                   "<core>": {"instructions": 29934376, "best_instructions": 24499594,
                              "flash_bytes": 187688, "arena_bytes": 54996}, ...}, ...}

Other keys are left alone. `best_instructions` is the lowest count over all builds that were tried, and is what we
compare with where it is given. A network is found by its name, else as the only one with as many multiplications as
ours has before anything is pruned: the same network has other names in other formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from bevel.backends.program.resources import Resource, Resources, from_keyed
from bevel.calib.data.files import check_plain
from bevel.calib.errors import UserError
from bevel.tools.bench.cells import Cell


@dataclass(frozen=True)
class Network:
    """`cores`: what the other system takes and spends, as far as the file says."""

    name: str
    macs: int | None
    cores: Mapping[str, Resources]


@dataclass(frozen=True)
class Ratio:
    """Ours divided by theirs, for one network on one core; `theirs` is the network's name there."""

    model: str
    theirs: str
    core: str
    instructions: float | None
    flash: float | None
    arena: float | None


@dataclass(frozen=True)
class Means:
    """Geometric means over the networks of one core, of the ratios that are known."""

    core: str
    instructions: float | None
    flash: float | None
    arena: float | None


def read(path: Path) -> tuple[Network, ...]:
    """Raises UserError for a file that cannot be read or is not of this form."""
    try:
        check_plain(path)
        data = json.loads(path.read_text())
        return tuple(network(name, entry) for name, entry in data.items())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, AttributeError, TypeError):
        raise UserError(f"{path} is not a reference: JSON of {{network: {{core: {{instructions: ...}}}}}}") from None


def network(name: str, entry: Mapping[str, Any]) -> Network:
    return Network(name, entry.get("macs"), {core: costs(one) for core, one in entry.items() if isinstance(one, dict)})


def costs(entry: Mapping[str, Any]) -> Resources:
    best = entry.get("best_instructions", entry.get("instructions"))
    return from_keyed({**entry, Resource.INSTRUCTIONS.key: best})


def ratios(cells: Iterable[Cell], networks: Sequence[Network]) -> list[Ratio]:
    """One for each cell that the reference has numbers for."""
    return [
        ratio(cell, found.name, found.cores[cell.core])
        for cell in cells
        if (found := match(cell, networks)) and cell.core in found.cores
    ]


def unmatched(cells: Iterable[Cell], networks: Sequence[Network]) -> list[Cell]:
    """The cells that there is nothing to compare with, or that have no count to compare."""
    known = {(one.model, one.core) for one in ratios(cells, networks) if one.instructions is not None}
    return [cell for cell in cells if (cell.model, cell.core) not in known]


def match(cell: Cell, networks: Sequence[Network]) -> Network | None:
    named = [one for one in networks if one.name == cell.model]
    as_large = [one for one in networks if one.macs == cell.network_macs]
    found = named or as_large
    return found[0] if len(found) == 1 else None


def ratio(cell: Cell, name: str, theirs: Resources) -> Ratio:
    shares = {one: amount / theirs[one] for one, amount in (cell.product | cell.spent).items() if theirs.get(one)}
    compared = (shares.get(one) or None for one in (Resource.INSTRUCTIONS, Resource.FLASH, Resource.ARENA))
    return Ratio(cell.model, name, cell.core, *compared)


def means(found: Sequence[Ratio]) -> list[Means]:
    by_core = {core: [one for one in found if one.core == core] for core in dict.fromkeys(one.core for one in found)}
    return [
        Means(
            core,
            geometric_mean(one.instructions for one in some),
            geometric_mean(one.flash for one in some),
            geometric_mean(one.arena for one in some),
        )
        for core, some in by_core.items()
    ]


def geometric_mean(values: Iterable[float | None]) -> float | None:
    logarithms = [log(value) for value in values if value is not None]
    return exp(sum(logarithms) / len(logarithms)) if logarithms else None
