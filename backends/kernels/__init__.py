"""The kernels: one file an operator, with reference, TIR and cases (`bevel.backends.program.kernel`)."""

from bevel.backends.codegen import script_parsing

script_parsing.install()
