"""The files that hold kernels, found as folders list them: the plain ones, and those of each family of cores."""

import pkgutil
from importlib import import_module
from types import ModuleType

import bevel.backends.cortex_m.dsp as dsp
import bevel.backends.cortex_m.mve as mve
import bevel.backends.tir.kernels as plain

ROOMS = (plain, dsp, mve)
PARTS = {
    "bevel.backends.cortex_m.dsp.dsp",
    "bevel.backends.cortex_m.dsp.tiles",
    "bevel.backends.cortex_m.dsp.grouped_tiles",
}


def kernel_modules(*rooms: ModuleType) -> dict[str, ModuleType]:
    """{file name without .py: module} of `rooms`, or of all; those of parts that kernels share are left out."""
    found = [f"{room.__name__}.{one.name}" for room in rooms or ROOMS for one in pkgutil.iter_modules(room.__path__)]
    return {name.rpartition(".")[2]: import_module(name) for name in found if name not in PARTS}
