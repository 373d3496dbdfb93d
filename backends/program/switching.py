"""One stored set of int8 weights for several widths, chosen while the model runs.

A weight of b bits is the stored one, rounded once more: w_b = 2**(8 - b) * clamp(floor(w / 2**(8 - b) + 1/2)), clamped
to the symmetric range of b bits. Scales, multipliers and shifts stay. What else depends on the weights (biases that
carry a zero point times their sum) is stored for each width.

A kernel may pack weights and biases into one array. Whatever it does, its array at a narrower width is compared with
its array of 8 bits, rounded lane by lane; where they differ, the values are kept in a table. So what a call reads is
right by construction, and a packing that is no rounding of lanes shows by the size of its table.

Source: Jin et al. 2020, "AdaBits: Neural Network Quantization with Adaptive Bit-Widths", section 3.2 (double rounding).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.program.op import Array
from bevel.backends.program.program import Call, Program

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
    """How a constant becomes another at narrower widths: by rounding its lanes, but for some elements of every
    `period`. Those at `kept` stay as they are, those at `changed` become `values`: [widths, periods * changed].

    lane: of LANES, or None where all elements are in the table.
    """

    lane: str | None
    period: int
    kept: NDArray[np.int32]
    changed: NDArray[np.int32]
    values: Array

    @property
    def bytes(self) -> int:
        return int(self.values.nbytes + self.kept.nbytes + self.changed.nbytes)

    def apply(self, full: Array, bits: int, row: int) -> Array:
        """`full` at the width of `bits` bits, whose values are those of `row`."""
        flat = np.ascontiguousarray(full).reshape(-1)
        found = (flat if self.lane is None else lanes_rounded(flat, bits, self.lane)).copy().reshape(-1, self.period)
        found[:, self.kept] = flat.reshape(-1, self.period)[:, self.kept]
        found[:, self.changed] = self.values[row].reshape(len(found), self.changed.size)
        return found.reshape(full.shape)


def switched(full: Array, narrower: dict[int, Array]) -> Switched | None:
    """How `full` becomes each of `narrower`, in the fewest bytes; None where they are all the same."""
    if all(np.array_equal(full, one) for one in narrower.values()):
        return None
    lanes = [lane for lane in LANES if lane == "int8" or full.nbytes % 2 == 0]
    found = [by_lane(full, narrower, lane, period) for lane in lanes for period in {full.shape[-1], full.size}]
    best = min(found, key=lambda one: one.bytes)
    if best.changed.size + best.kept.size < best.period:
        return best
    everything = np.arange(full.size, dtype=np.int32)
    values = np.stack([array.reshape(-1) for array in narrower.values()])
    return Switched(None, full.size, everything[:0], everything, values)


def by_lane(full: Array, narrower: dict[int, Array], lane: str, period: int) -> Switched:
    flat = np.ascontiguousarray(full).reshape(-1)
    arrays = [array.reshape(-1, period) for array in narrower.values()]
    rounds = [lanes_rounded(flat, bits, lane).reshape(-1, period) for bits in narrower]
    missed = [array != one for array, one in zip(arrays, rounds, strict=True)]
    others = [array != flat.reshape(-1, period) for array in arrays]
    exceptions, differs = (np.any(np.stack(masks), axis=(0, 1)) for masks in (missed, others))
    kept, changed = (np.flatnonzero(exceptions & mask).astype(np.int32) for mask in (~differs, differs))
    return Switched(lane, period, kept, changed, np.stack([array[:, changed].reshape(-1) for array in arrays]))


def switchings(call: Call) -> tuple[Switched | None, ...]:
    """How each constant operand of a call changes with the width."""
    return tuple(
        switched(array, {bits: constants[place] for bits, constants in call.narrower.items()})
        for place, array in enumerate(call.constants)
    )


def exceptions(call: Call) -> int:
    """How many elements a call has in a table for each width."""
    return sum(one.values.shape[1] for one in switchings(call) if one is not None)


def switchable(program: Program, narrower: dict[int, Program]) -> Program:
    """`program`, 8 bits wide, with the constants that its calls have in the others, by their bits.

    Raises ValueError for programs that differ in more than constants: our bug.
    """
    calls = []
    for index, call in enumerate(program.calls):
        others = {bits: other.calls[index] for bits, other in narrower.items()}
        if any(
            (call.kernel, call.inputs, call.outputs) != (one.kernel, one.inputs, one.outputs) for one in others.values()
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
