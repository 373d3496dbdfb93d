"""One stored set of int8 weights for several widths, chosen while the model runs.

A weight of b bits is the stored one, rounded once more: w_b = 2**(8 - b) * clamp(floor(w / 2**(8 - b) + 1/2)), clamped
to the symmetric range of b bits. Scales, multipliers and shifts stay. What else depends on the weights (biases that
carry a zero point times their sum) is stored for each width.

A kernel may pack weights and biases into one array. Whatever it does, its array at a narrower width is compared with
its array of 8 bits, rounded lane by lane; where they differ, the values are kept in a table of exceptions. So what a
call reads is right by construction, and a packing that is no rounding of lanes shows as many exceptions.

Source: Jin et al. 2020, "AdaBits: Neural Network Quantization with Adaptive Bit-Widths", section 3.2 (double rounding).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.kernel import Array
from bevel.backends.program import Call, Program

FULL = 8
PAIR = "pair"
LANES = ("int8", "int16", PAIR)  # how kernels hold weights: in bytes, in halfwords, two in a halfword 256 * high + low


def rounded(weights: NDArray[Any], bits: int) -> NDArray[Any]:
    """Integers of 8 bits at `bits` bits, 2 to 8, on their own scale; the type is kept."""
    if bits == FULL:
        return weights
    shift, high = FULL - bits, 2 ** (bits - 1) - 1
    steps = (weights.astype(np.int32) + (1 << (shift - 1))) >> shift
    result: NDArray[Any] = (np.clip(steps, -high, high) << shift).astype(weights.dtype)
    return result


def lanes_rounded(flat: Array, bits: int, lane: str) -> Array:
    """A vector of any type, whose bytes are weights in such lanes, at `bits` bits."""
    if lane != PAIR:
        return rounded(flat.view(lane), bits).view(flat.dtype)
    halfwords = flat.view(np.int16).astype(np.int32)
    low = halfwords.astype(np.int8).astype(np.int32)
    high = (halfwords - low) >> 8
    both: Array = ((rounded(high, bits) << 8) + rounded(low, bits)).astype(np.int16).view(flat.dtype)
    return both


@dataclass(frozen=True, eq=False)
class Switched:
    """How a constant becomes another at narrower widths: by rounding its lanes, but for the elements at `places`, which
    become `values`: [widths, places]. lane: of LANES, or None where all elements are in the table."""

    lane: str | None
    places: NDArray[np.int32]
    values: Array


def switched(full: Array, narrower: dict[int, Array]) -> Switched | None:
    """How `full` becomes each of `narrower`, with the fewest exceptions; None where they are all the same."""
    if all(np.array_equal(full, one) for one in narrower.values()):
        return None
    found = [by_lane(full, narrower, lane) for lane in LANES if lane == "int8" or full.nbytes % 2 == 0]
    best = min(found, key=lambda one: one.places.size)
    if best.places.size < full.size:
        return best
    return Switched(None, best.places, best.values)


def by_lane(full: Array, narrower: dict[int, Array], lane: str) -> Switched:
    flat = np.ascontiguousarray(full).reshape(-1)
    different = np.zeros(flat.size, bool)
    for bits, array in narrower.items():
        different |= array.reshape(-1) != lanes_rounded(flat, bits, lane)
    places = np.flatnonzero(different).astype(np.int32)
    return Switched(lane, places, np.stack([array.reshape(-1)[places] for array in narrower.values()]))


def switchings(call: Call) -> tuple[Switched | None, ...]:
    """How each constant operand of a call changes with the width."""
    return tuple(
        switched(array, {bits: constants[place] for bits, constants in call.narrower.items()})
        for place, array in enumerate(call.constants)
    )


def exceptions(call: Call) -> int:
    """How many elements a call has in tables for each width."""
    return sum(one.places.size for one in switchings(call) if one is not None)


def switchable(program: Program, narrower: dict[int, Program]) -> Program:
    """`program`, 8 bits wide, with the constants that its calls have in the others, by their bits.

    Raises ValueError for programs that differ in more than constants: our bug.
    """
    calls = []
    for index, call in enumerate(program.calls):
        others = {bits: other.calls[index] for bits, other in narrower.items()}
        if any(
            (call.kernel, call.inputs, call.output) != (one.kernel, one.inputs, one.output) for one in others.values()
        ):
            raise ValueError(f"{call.node}: not the same call at every width")
        constants = {bits: one.constants for bits, one in others.items()}
        same = all(
            np.array_equal(array, other)
            for one in constants.values()
            for array, other in zip(call.constants, one, strict=True)
        )
        calls.append(call if same else replace(call, narrower=constants))
    return replace(program, calls=tuple(calls), widths=(FULL, *narrower))
