"""What tuning found, in JSON: {core: {compiler and version: {kernel as it was: what to take for it}}}. Of a GPU,
{target: {device and driver, or what estimated: ...}}.

`tuned.json` beside this file ships with Bevel and holds common shapes for which something else than the kernel as it
stands was faster (`python -m bevel.tools.bench.ship_tuned` makes it); every build starts from it. A user's own file
holds what `--tune` measured on this machine, and is read only by runs that ask for tuning, so that any other run
gives the same bytes wherever it runs. Nothing in these files can change a result: they name variants that the kernels
themselves offer, and flags.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bevel.backends.select.tune import Selection, Selections
from bevel.calib.data.files import check_plain
from bevel.calib.errors import UserError

SHIPPED = "tuned.json"


@dataclass(frozen=True)
class Found:
    """The best of `tried` candidates for one kernel: what all its calls spend in the network it was tuned in,
    instructions of a core or seconds of a GPU, as these `sources` had it
    (`bevel.backends.process.cache.sources_digest`)."""

    selection: Selection
    spent: float
    before: float  # of the kernel as it was
    tried: int
    sources: str = ""


Table = Mapping[str, Found]  # by the kernel's key
Database = Mapping[str, Mapping[str, Table]]  # by core and compiler


def selections(table: Table) -> Selections:
    return {kernel: found.selection for kernel, found in table.items()}


def changing(table: Table) -> Table:
    """The entries that change something, which are those worth shipping."""
    return {kernel: found for kernel, found in table.items() if found.selection != Selection(kernel)}


def lookup(database: Database, core: str, compiler: str) -> Table:
    """What is known for a core and exactly this compiler."""
    return database.get(core, {}).get(compiler, {})


def shipped(core: str, compiler: str) -> Selections:
    """What ships for a core and a compiler ("arm-none-eabi-gcc 12.2.1"), or for the latest version of that compiler.

    Another version's choices are a good guess: they cannot be wrong, only slow.
    """
    known = shipped_database().get(core, {})
    name = compiler.split()[0]
    alike = sorted(version for version in known if version.split()[0] == name)
    nearest = compiler if compiler in known else alike[-1] if alike else ""
    return selections(known.get(nearest, {}))


@cache
def shipped_database() -> Database:
    return parse(json.loads(files(__package__).joinpath(SHIPPED).read_text(encoding="utf-8")))


def read(path: Path) -> Database:
    """The database in a file, empty where there is none. Raises UserError for a file that is something else."""
    try:
        check_plain(path)
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not a tuning database of this version of Bevel; delete it or name another"
        ) from None


def parse(data: Mapping[str, Any]) -> Database:
    return {
        core: {
            compiler: {kernel: found(entry) for kernel, entry in table.items()} for compiler, table in compilers.items()
        }
        for core, compilers in data.items()
    }


def found(entry: Mapping[str, Any]) -> Found:
    return Found(selection(entry["selection"]), entry["spent"], entry["before"], entry["tried"], entry["sources"])


def selection(entry: Mapping[str, Any]) -> Selection:
    return Selection(entry["variant"], tuple(entry["flags"]))


def merged(database: Database, core: str, compiler: str, table: Table) -> Database:
    """`database` with the entries of `table` in place of those for the same kernels."""
    compilers = database.get(core, {})
    return {**database, core: {**compilers, compiler: {**compilers.get(compiler, {}), **table}}}


def write(path: Path, database: Database) -> None:
    """Replaces the file in one step, so that two runs at a time leave one whole file."""
    data = {
        core: {compiler: {kernel: asdict(table[kernel]) for kernel in sorted(table)} for compiler, table in tables}
        for core, tables in sorted((core, sorted(compilers.items())) for core, compilers in database.items())
    }
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as stream:
        json.dump(data, stream, indent=1)
        stream.write("\n")
    os.chmod(stream.name, 0o644)  # a temporary file is its owner's alone
    os.replace(stream.name, path)
