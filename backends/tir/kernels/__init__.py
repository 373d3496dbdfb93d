"""The kernels: one file an operator, with reference, TIR and cases (`bevel.backends.program.kernel`)."""

from bevel.backends.tir import script_parsing

script_parsing.install()
