"""Weights that several calls have are stored once, where kernels pack them with what differs between these calls.

Kernels for the DSP extension read a block's weights and, around them, what belongs to one call. Other kernels have
weights in an operand of their own, and equal operands are stored once anyway (`codegen/constants.py`). Equal bytes
decide, not names: an initializer that several nodes use, and one that was copied, count alike.

Nothing changes in a program none of whose calls share weights, or so few that the other functions would take more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from bevel.backends.cortex_m.dsp.conv_dsp import ConvDsp
from bevel.backends.cortex_m.dsp.gemm_dsp import GemmDsp
from bevel.backends.cortex_m.dsp.positional_gemm_dsp import PositionalGemmDsp
from bevel.backends.cortex_m.dsp.shared_positional_gemm_dsp import SharedPositionalGemmDsp
from bevel.backends.cortex_m.dsp.shared_positional_gemm_dsp import split as split_positional
from bevel.backends.cortex_m.dsp.shared_subbyte_tiles_dsp import SharedSubbyteTilesDsp
from bevel.backends.cortex_m.dsp.shared_tiles_dsp import SharedTilesDsp
from bevel.backends.cortex_m.dsp.subbyte_tiles_dsp import SubbyteTilesDsp
from bevel.backends.encodings import packing
from bevel.backends.program.op import Array, Op
from bevel.backends.program.program import Call, Program
from bevel.calib.data.content import content

LEAST_SAVING = 512  # bytes; the functions that read weights elsewhere take about as many


@dataclass(frozen=True)
class Shareable:
    """What a call whose weights may be shared becomes: its kernel, and how its first constant is cut in two."""

    kernel: Op
    split: Callable[[Array], tuple[Array, Array]]


def share_weights(program: Program) -> Program:
    """`program`, its kernels chosen, with the weights of several calls in one array."""
    groups = [indices for indices in with_equal_weights(program) if len(blocks_of(program, indices)) > 1]
    if sum(saving(program, indices) for indices in groups) < LEAST_SAVING:
        return program
    chosen = {index for indices in groups for index in indices}
    return replace(
        program, calls=tuple(shared(call) if index in chosen else call for index, call in enumerate(program.calls))
    )


def with_equal_weights(program: Program) -> list[list[int]]:
    """The places of calls that may share weights, those of equal weights together."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for index, call in enumerate(program.calls):
        if (form := shareable(call.kernel)) is not None:
            found[content(form.split(call.constants[0])[0].reshape(-1))].append(index)
    return list(found.values())


def shareable(kernel: Op) -> Shareable | None:
    """How a kernel reads its blocks' weights from an array of their own; None for one without such blocks."""
    match kernel:
        case PositionalGemmDsp(rows, k, n, output, bits, raised, shared=False):
            apart = SharedPositionalGemmDsp(rows, k, n, output, bits, raised)
            return Shareable(apart, lambda packed: split_positional(packed, apart.channels))
        case SubbyteTilesDsp(inner, codes, shared=False):
            return Shareable(SharedSubbyteTilesDsp(inner, codes), packing.split)
        case GemmDsp() | ConvDsp():
            return Shareable(SharedTilesDsp(kernel), packing.split)
        case _:
            return None


def blocks_of(program: Program, indices: list[int]) -> set[bytes]:
    """The different packed arrays of some calls: bands of an image, for one, have the same."""
    return {content(program.calls[index].constants[0].reshape(-1)) for index in indices}


def saving(program: Program, indices: list[int]) -> int:
    """Bytes of flash that calls of equal weights take less where these are stored once."""
    call = program.calls[indices[0]]
    form = shareable(call.kernel)
    assert form is not None
    return (len(blocks_of(program, indices)) - 1) * form.split(call.constants[0])[0].nbytes


def shared(call: Call) -> Call:
    """`call` with its weights in an operand of their own, at every width."""
    form = shareable(call.kernel)
    assert form is not None
    narrower = {bits: (*form.split(packed), *others) for bits, (packed, *others) in call.narrower.items()}
    packed, *others = call.constants
    return replace(call, kernel=form.kernel, constants=(*form.split(packed), *others), narrower=narrower)
