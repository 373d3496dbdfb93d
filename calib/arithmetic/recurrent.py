"""Recurrent networks in integers: the one definition of a step of LSTM, GRU and RNN.

The state h and the cell c are int16 around 0; weights are int8, or int16, with a scale for each row, as there is one
row for each gate of each unit. What goes into a gate is rounded and saturated once, to int16 in steps of which 2**15
are the range in which the gate's function still changes (`bevel.calib.arithmetic.gate_functions`: 16 for a sigmoid, 8
for a tanh):

    p = saturate((sum(w x) * mx + sum(r h) * mh + b) >> n)         b holds bias, zero point of x, and half a step

Functions are straight lines between codes (`bevel.calib.arithmetic.piecewise`), to int16 of which 2**15 are the largest
that the function gets to. Elementwise sums of products are rounded once as well, with half = 2**(n - 1):

    LSTM    c' = saturate((f * c * keep + i * g * add + half) >> n)
            h' = saturate((o * t(c') * show + half) >> m)
    GRU     h' = saturate(((one - z) * g * add + z * h * keep + half) >> n)

Source: Li and Alvarez 2021, "On the quantization of Recurrent Neural Networks", and TensorFlow Lite's integer LSTM:
int8 weights, int16 cells, gates in Q3.12 and Q0.15. There, the sums of x and of h are each rounded before they are
added, h is int8, and steps are powers of two; here there is one rounding, and an int16 h costs a core no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bevel.calib.arithmetic.gate_functions import GateFunction
from bevel.calib.arithmetic.piecewise import LOWEST, Piecewise, evaluate, piecewise
from bevel.calib.arithmetic.requantize import Output, RatioError

Integers = NDArray[Any]
Int64 = NDArray[np.int64]
Floats = NDArray[np.float64]

STEPS = 2**15
STATE = Output(0, -STEPS, STEPS - 1, "int16")
SUM_LIMIT = 2**61  # of what is shifted right
FACTOR_LIMIT = 2**31
WITHIN = 2**23  # what is left of a GRU's inner sum before its reset gate: 256 times what its function changes in


class Lines(NamedTuple):
    """A function of int16 codes to int16. scale: what a step of the result is worth."""

    pieces: Piecewise
    scale: float

    def __call__(self, codes: Integers) -> Int64:
        pieces = self.pieces
        found = evaluate(codes, pieces.blocks, pieces.ends, pieces.block, pieces.fraction)
        return np.clip(found, STATE.low, STATE.high)


def lines_of(function: GateFunction, step: float, scale: float | None = None) -> Lines:
    """`function` of int16 codes of `step` each. scale: what a step of the result shall be worth."""
    reals = function((np.arange(2 * STEPS) + LOWEST) * step)
    scale = scale or float(np.abs(reals).max()) / STEPS or 1.0
    return Lines(piecewise(reals / scale, STATE), scale)


def gate_step(function: GateFunction, clip: float = np.inf) -> float | None:
    """What a step of a gate's input is worth; None where neither function nor clip bounds it."""
    bound = min(clip, np.inf if function.domain is None else function.domain)
    return bound / (STEPS - 1) if np.isfinite(bound) else None


def common_shift(
    ratios: Sequence[Floats], reaches: Sequence[Floats], rest: Floats | float = 0.0
) -> tuple[int, list[Int64]]:
    """The largest n for which sum(values * factors) + rest * 2**n stays within bounds, and the factors, 2**n times the
    `ratios`, of values of at most `reaches`. Raises RatioError where there is none."""
    for shift in range(60, 0, -1):
        factors = [np.rint(ratio * 2.0**shift) for ratio in ratios]
        total = sum(np.abs(factor) * reach for factor, reach in zip(factors, reaches, strict=True))
        largest = float(np.max(total + (np.asarray(rest) + 0.5) * 2.0**shift))
        if largest < SUM_LIMIT and all(np.abs(factor).max() < FACTOR_LIMIT for factor in factors):
            return shift, [factor.astype(np.int64) for factor in factors]
    raise RatioError("the scales of a recurrent network's sums lie too far from those of its gates")


def half(shift: int) -> int:
    return 1 << (shift - 1)


def saturate(values: Int64) -> Int64:
    return np.clip(values, STATE.low, STATE.high)


def gate_inputs(x_sums: Integers, h_sums: Integers, x_factor: Integers, h_factor: Integers, bias: Integers) -> Int64:
    """What is shifted by n and saturated, of rows along the last axis."""
    wide = [one.astype(np.int64) for one in (x_sums, x_factor, h_sums, h_factor, bias)]
    result: Int64 = wide[0] * wide[1] + wide[2] * wide[3] + wide[4]
    return result


class LstmNumbers(NamedTuple):
    """n, and the other numbers of the formulas; one: 1 in steps of i, f and o, or 0 where f is no 1 - i."""

    shift: int
    keep: int
    add: int
    cell_shift: int
    show: int
    show_shift: int
    one: int = 0


class Worths(NamedTuple):
    """What a step is worth: of i, f and o; of g; of the function of the cell; of the cell; of the state."""

    gate: float
    candidate: float
    shown: float
    cell: float
    state: float


def lstm_numbers(shift: int, steps: Worths, coupled: bool) -> LstmNumbers:
    """shift: n of the gates' inputs. coupled: f is 1 - i. Raises RatioError."""
    one = round(1 / steps.gate) if coupled else 0
    reach = np.array(float(STEPS) ** 2)
    ratios = [np.array(steps.gate), np.array(steps.gate * steps.candidate / steps.cell)]
    cell_shift, (keep, add) = common_shift(ratios, [np.array(float(one + STEPS) * STEPS), reach])
    show_shift, (show,) = common_shift([np.array(steps.gate * steps.shown / steps.state)], [reach])
    return LstmNumbers(shift, int(keep), int(add), cell_shift, int(show), show_shift, one)


def lstm_step(
    inputs: Int64, c: Integers, peephole: Integers | None, numbers: LstmNumbers, lines: Sequence[Lines]
) -> tuple[Int64, Int64]:
    """(h, c) of a step. inputs: [..., 4 H], `gate_inputs` of i, o, f and g; peephole: int64 [3, H], of i, o and f, by
    which the cell goes into them; lines: of i, o and f, of g, of the cell."""
    of_gate, of_candidate, of_cell = lines
    i, o, f, g = np.split(inputs, 4, axis=-1)
    cell = c.astype(np.int64)
    p = np.zeros((3, 1), np.int64) if peephole is None else peephole.astype(np.int64)
    opened = of_gate(saturate((i + cell * p[0]) >> numbers.shift))
    kept = numbers.one - opened if numbers.one else of_gate(saturate((f + cell * p[2]) >> numbers.shift))
    candidate = of_candidate(saturate(g >> numbers.shift))
    blend = kept * cell * numbers.keep + opened * candidate * numbers.add
    cell = saturate((blend + half(numbers.cell_shift)) >> numbers.cell_shift)
    shown = of_gate(saturate((o + cell * p[1]) >> numbers.shift)) * of_cell(cell)
    return saturate((shown * numbers.show + half(numbers.show_shift)) >> numbers.show_shift), cell


class GruNumbers(NamedTuple):
    """n, the numbers of the formula and its shift; reset: how r * h, or r * (R h + b), is brought to the other's steps;
    one: 1 in steps of z and r."""

    shift: int
    keep: int
    add: int
    state_shift: int
    reset: int
    reset_shift: int
    one: int


def gru_numbers(shift: int, gate: float, candidate: float, state: float) -> GruNumbers:
    """gate, candidate, state: what steps of z and r, of g, and of h are worth. Raises RatioError."""
    one = round(1 / gate)
    reach = np.array(float(one + STEPS) * STEPS)
    ratios = [np.array(gate), np.array(gate * candidate / state)]
    state_shift, (keep, add) = common_shift(ratios, [reach, reach])
    reset_shift, (reset,) = common_shift([np.array(gate)], [np.array(float(STEPS) * WITHIN)])
    return GruNumbers(shift, int(keep), int(add), state_shift, int(reset), reset_shift, one)


def reset_state(r: Integers, values: Integers, numbers: GruNumbers) -> Int64:
    """r times the state, or times an inner sum: in the steps of that."""
    wide: Int64 = r.astype(np.int64) * values.astype(np.int64) * numbers.reset
    result: Int64 = (wide + half(numbers.reset_shift)) >> numbers.reset_shift
    return result


def inner_sum(values: Int64, numbers: GruNumbers) -> Int64:
    """What goes into a candidate, rounded to its steps before the reset gate takes its share; `values` have their
    half."""
    result: Int64 = np.clip(values >> numbers.shift, -WITHIN, WITHIN - 1)
    return result


def gru_state(z: Integers, g: Integers, h: Integers, numbers: GruNumbers) -> Int64:
    """h of a step."""
    update, state = z.astype(np.int64), h.astype(np.int64)
    blend = (numbers.one - update) * g.astype(np.int64) * numbers.add + update * state * numbers.keep
    return saturate((blend + half(numbers.state_shift)) >> numbers.state_shift)
