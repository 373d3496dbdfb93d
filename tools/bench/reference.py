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

from bevel.calib.data.files import check_plain
from bevel.calib.errors import UserError
from bevel.tools.bench.cells import Cell


@dataclass(frozen=True)
class Costs:
    """The other system's; None where the file does not say."""

    instructions: int | None
    flash_bytes: int | None
    arena_bytes: int | None


@dataclass(frozen=True)
class Network:
    name: str
    macs: int | None
    cores: Mapping[str, Costs]


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


def costs(entry: Mapping[str, Any]) -> Costs:
    best = entry.get("best_instructions", entry.get("instructions"))
    return Costs(best, entry.get("flash_bytes"), entry.get("arena_bytes"))


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


def ratio(cell: Cell, name: str, theirs: Costs) -> Ratio:
    return Ratio(
        model=cell.model,
        theirs=name,
        core=cell.core,
        instructions=divide(cell.instructions, theirs.instructions),
        flash=divide(cell.flash_bytes, theirs.flash_bytes),
        arena=divide(cell.arena_bytes, theirs.arena_bytes),
    )


def divide(ours: int | None, theirs: int | None) -> float | None:
    return ours / theirs if ours and theirs else None


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
