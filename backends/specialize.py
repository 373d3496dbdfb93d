"""Choose, for each call, the kernel that uses what the target can do; the plain kernel is what remains.

A specialised kernel is a kernel like any other, in a file of its own beside the plain one (`conv_dsp.py` beside
`conv.py`): other loops, constants packed for them, perhaps scratch, and the same results bit for bit. Its rule looks
at a call and answers with the kernel and its constants, or with the reason why it does not apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import NamedTuple

from bevel.backends.kernel import Array, Kernel
from bevel.backends.program import Call, Program
from bevel.backends.target import Target


class Special(NamedTuple):
    """A kernel that computes the same as the plain one, and its constants in operand order."""

    kernel: Kernel
    constants: tuple[Array, ...]


Rule = Callable[[Call, Target], Special | str]

# Modules of `bevel.backends.kernels`, whose `specialize` are asked in order; the first that applies wins. Where weights
# take fewer than eight bits, flash counts more than speed.
RULES = (
    "narrow_conv_mve",
    "narrow_depthwise_mve",
    "narrow_depthwise_dsp",
    "positional_gemm_dsp",
    "narrow_tiles_dsp",
    "coded_conv_dsp",
    "coded_conv",
    "conv_mve",
    "gemm_mve",
    "depthwise_mve",
    "add_mve",
    "depthwise_dsp",
    "gemm_dsp",
    "conv_dsp",
    "add_dsp",
    "reduce_mean_dsp",
    "average_pool_dsp",
    "max_pool_dsp",
)


@dataclass(frozen=True)
class Specializer:
    """Specialises calls for one target; each kernel with the same arrays once, as bands of an image share weights."""

    target: Target
    # By kernel and identity of the constants, which the calls kept here hold alive.
    known: dict[tuple[Kernel, tuple[int, ...]], tuple[Call, Call]] = field(default_factory=dict, compare=False)

    def program(self, program: Program) -> Program:
        return replace(program, calls=tuple(self.call(call) for call in program.calls))

    def call(self, call: Call) -> Call:
        key = (call.kernel, tuple(id(array) for array in call.constants))
        if key not in self.known:
            self.known[key] = (call, specialized(call, self.target))
        special = self.known[key][1]
        return replace(call, kernel=special.kernel, constants=special.constants)


def specialize(program: Program, target: Target) -> Program:
    """`program` with the fastest kernel that applies to each call on `target`."""
    return Specializer(target).program(program)


def specialized(call: Call, target: Target) -> Call:
    for rule in rules():
        found = rule(call, target)
        if isinstance(found, Special):
            return replace(call, kernel=found.kernel, constants=found.constants)
    return call


@cache
def rules() -> tuple[Rule, ...]:
    """The functions of RULES: imported when they are needed, because their modules need this one."""
    return tuple(import_module(f"bevel.backends.kernels.{name}").specialize for name in RULES)


INCLUDED = re.compile(r'^#include "(bevel_\w+\.h)"$', re.MULTILINE)


def helper_text(header: str) -> str:
    """The text of a C header of `backends/kernels/c/`, with those of the same folder that it includes put in place."""
    text = files("bevel.backends.kernels").joinpath("c", header).read_text(encoding="utf-8")
    return INCLUDED.sub(lambda match: helper_text(match[1]), text)
