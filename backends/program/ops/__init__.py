"""Operators: one file each, with what it takes and gives, its reference and its cases (`bevel.backends.program.op`)."""
