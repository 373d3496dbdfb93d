"""Plain loops, for every machine: one file an operator, named as its file in `bevel.backends.program.ops` is."""
