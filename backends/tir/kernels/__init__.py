"""Plain loops, for every machine: one file an operator, named as its file in `bevel.backends.program.ops` is."""

from bevel.backends.tir import script_parsing

script_parsing.install()
