"""Weights that several calls have are stored once, where kernels pack them with what differs between these calls.

Kernels for the DSP extension read a block's weights and, around them, what belongs to one call. Other kernels have
weights in an operand of their own, and equal operands are stored once anyway (`codegen/constants.py`). Equal bytes
decide, not names: an initializer that several nodes use, and one that was copied, count alike.

Nothing changes in a program none of whose calls share weights, or so few that the other functions would take more.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from bevel.backends import packing
from bevel.backends.kernel import Array, Kernel
from bevel.backends.kernels.conv_dsp import ConvDsp
from bevel.backends.kernels.gemm_dsp import GemmDsp
from bevel.backends.kernels.narrow_tiles_dsp import NarrowTilesDsp
from bevel.backends.kernels.shared_narrow_tiles_dsp import SharedNarrowTilesDsp
from bevel.backends.kernels.shared_tiles_dsp import SharedTilesDsp
from bevel.backends.program import Call, Program

LEAST_SAVING = 512  # bytes; the functions that read weights elsewhere take about as many


def share_weights(program: Program) -> Program:
    """`program`, its kernels chosen, with the weights of several calls in one array."""
    found: dict[bytes, list[int]] = defaultdict(list)
    for index, call in enumerate(program.calls):
        if with_shared_weights(call.kernel) is not None:
            found[packing.split(call.constants[0])[0].tobytes()].append(index)
    groups = [indices for indices in found.values() if len(blocks_of(program, indices)) > 1]
    if sum(saving(blocks_of(program, indices)) for indices in groups) < LEAST_SAVING:
        return program
    chosen = {index for indices in groups for index in indices}
    return replace(
        program, calls=tuple(shared(call) if index in chosen else call for index, call in enumerate(program.calls))
    )


def with_shared_weights(kernel: Kernel) -> Kernel | None:
    """The kernel that reads its blocks' weights from an array of their own; None for one without such blocks."""
    match kernel:
        case NarrowTilesDsp(shared=False):
            return SharedNarrowTilesDsp(kernel.inner, kernel.codes)
        case GemmDsp() | ConvDsp():
            return SharedTilesDsp(kernel)
        case _:
            return None


def blocks_of(program: Program, indices: list[int]) -> list[Array]:
    """The different packed arrays of some calls: bands of an image, for one, have the same."""
    arrays = (program.calls[index].constants[0] for index in indices)
    return list({array.tobytes(): array for array in arrays}.values())


def saving(blocks: list[Array]) -> int:
    """Bytes of flash that arrays of equal weights take less where these are stored once."""
    return (len(blocks) - 1) * packing.split(blocks[0])[0].nbytes


def shared(call: Call) -> Call:
    """`call` with its weights in an operand of their own, at every width."""
    kernel = with_shared_weights(call.kernel)
    assert kernel is not None
    narrower = {bits: (*packing.split(blocks), *others) for bits, (blocks, *others) in call.narrower.items()}
    blocks, *others = call.constants
    return replace(call, kernel=kernel, constants=(*packing.split(blocks), *others), narrower=narrower)
