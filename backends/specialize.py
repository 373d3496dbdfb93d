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
from bevel.backends.program import Bounds, Call, Program
from bevel.backends.switching import exceptions
from bevel.backends.target import Target


class Special(NamedTuple):
    """A kernel that computes the same as the plain one, and its constants in operand order."""

    kernel: Kernel
    constants: tuple[Array, ...]


Rule = Callable[[Call, Target], Special | str]

# Modules of `bevel.backends.kernels`, whose `specialize` are asked in order; the first that applies wins. Where weights
# take fewer than eight bits, flash counts more than speed.
RULES = (
    "bitplane_conv",
    "positional_mve",
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


MORE_EXCEPTIONS = 4  # times those of the plain kernel: multipliers and shifts may stand among packed weights


Key = tuple[Kernel, tuple[int, ...], tuple[Bounds | None, ...]]


@dataclass(frozen=True)
class Specializer:
    """Specialises calls for one target; each kernel with the same arrays once, as bands of an image share weights."""

    target: Target
    # By kernel, identity of the constants, which the calls kept here hold alive, and what the inputs may be.
    known: dict[Key, tuple[Call, Call]] = field(default_factory=dict, compare=False)

    def program(self, program: Program) -> Program:
        bounded: Program = import_module("bevel.backends.bounds").with_bounds(program)  # late: it needs kernels
        return replace(bounded, calls=tuple(self.call(call) for call in bounded.calls))

    def call(self, call: Call) -> Call:
        key = (call.kernel, tuple(id(array) for array in call.constants), call.input_bounds)
        if key not in self.known:
            self.known[key] = (call, specialized(call, self.target))
        special = self.known[key][1]
        return replace(call, kernel=special.kernel, constants=special.constants, narrower=special.narrower)


def specialize(program: Program, target: Target) -> Program:
    """`program` with the fastest kernel that applies to each call on `target`."""
    return Specializer(target).program(program)


def specialized(call: Call, target: Target) -> Call:
    alone = replace(call, narrower={})
    for rule in rules():
        found = rule(alone, target)
        if isinstance(found, Special):
            special = replace(alone, kernel=found.kernel, constants=found.constants)
            if not call.narrower:
                return special
            if (switching := at_every_width(call, special, rule, target)) is not None:
                return switching
    return call


def at_every_width(call: Call, special: Call, rule: Rule, target: Target) -> Call | None:
    """`special` with its constants at the other widths; None where it is another kernel there, or would have to store
    weights again: a few elements a channel may be exceptions, as the bias is."""
    narrower = {}
    for bits, constants in call.narrower.items():
        found = rule(replace(call, constants=constants, narrower={}), target)
        if not isinstance(found, Special) or found.kernel != special.kernel:
            return None
        narrower[bits] = found.constants
    switching = replace(special, narrower=narrower)
    return switching if exceptions(switching) <= MORE_EXCEPTIONS * exceptions(call) else None


@cache
def rules() -> tuple[Rule, ...]:
    """The functions of RULES: imported when they are needed, because their modules need this one."""
    return tuple(import_module(f"bevel.backends.kernels.{name}").specialize for name in RULES)


INCLUDED = re.compile(r'^#include "(bevel_\w+\.h)"$', re.MULTILINE)


def helper_text(header: str) -> str:
    """The text of a C header of `backends/kernels/c/`, with those of the same folder that it includes put in place."""
    text = files("bevel.backends.kernels").joinpath("c", header).read_text(encoding="utf-8")
    return INCLUDED.sub(lambda match: helper_text(match[1]), text)
