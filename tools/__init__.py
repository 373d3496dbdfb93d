"""People: the commands, the data flow they run, and the report.

`import bevel.tools.command.optimize` and `bevel.tools.command.cli` must stay light: they import click and nothing
heavier, so that `--help` answers at once. Everything else is imported by the functions that need it.
"""
