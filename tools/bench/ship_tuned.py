"""What was found by tuning, into the file that ships: once for each compiler, after kernels have changed.

    bevel bench mcu --models DIR --cores cortex-m7 --tune 8 --tune-database found.json
    python -m bevel.tools.bench.ship_tuned found.json

The first command takes long where DIR holds many networks: each trial builds and runs each of them. It measures with
zig where `arm-none-eabi-gcc` is not on the PATH. Entries for kernels that were measured again replace the old ones;
those that keep the kernel as it is are not shipped.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import click

from bevel.backends import select
from bevel.backends.select import tuned


def shipping(known: tuned.Database, found: tuned.Database) -> tuned.Database:
    """`known` with what `found` says of the kernels it holds, and without what changes nothing."""
    for core, compilers in found.items():
        for compiler, table in compilers.items():
            known = tuned.merged(known, core, compiler, table)
    changing = [(core, one, tuned.changing(table)) for core, some in known.items() for one, table in some.items()]
    kept: tuned.Database = {}
    for core, compiler, table in changing:
        if table:
            kept = tuned.merged(kept, core, compiler, table)
    return kept


@click.command()
@click.argument("database", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(database: Path) -> None:
    """Put what DATABASE (of `--tune-database`) says into the tuned.json that ships."""
    with as_file(files(select).joinpath(tuned.SHIPPED)) as shipped:
        before = tuned.read(shipped)
        after = shipping(before, tuned.read(database))
        tuned.write(shipped, after)
    for core, compilers in sorted(after.items()):
        for compiler, table in sorted(compilers.items()):
            click.echo(f"{core}, {compiler}: {len(table)} kernels")


if __name__ == "__main__":
    command()
