"""Which of QONNX's quantizers, in the fewest bits, has given integers times a scale as its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bevel.calib.arithmetic.round_float import FloatSteps
from bevel.calib.formats.float_format import E2M1, E2M3, E3M2, E4M3, E5M2, FloatFormat
from bevel.passes.exchange.qonnx.formula import BipolarQuant, FloatQuant, Floats, Integers, Quant, Quantizer

NONE = np.zeros((), np.int64)
ZERO, ONE = np.zeros((), np.float32), np.ones((), np.float32)
MINIFLOATS = (E2M1, E2M3, E3M2, E4M3, E5M2)  # from few bits to many


def of_constant(integers: Integers, scale: Floats, zero_point: Integers = NONE) -> Quantizer:
    """The quantizer that leaves integers * scale as they are. `scale` is broadcastable against the integers, as is the
    `zero_point` they had before it was subtracted: what differs between channels is kept."""
    if zero_point.any():
        return with_zero_point(integers + zero_point, scale, zero_point)
    if integers.size and (np.abs(integers) == 1).all():
        return BipolarQuant(scale)
    found = of_range(int(integers.min(initial=0)), int(integers.max(initial=0)), scale)
    for format in MINIFLOATS:
        candidate = minifloat(format, scale)
        reals = integers.astype(np.float32) * np.float32(candidate.unit)
        if format.bits < found.bits and np.array_equal(replace(candidate, scale=ONE).integers(reals), integers):
            return candidate
    return found


def with_zero_point(codes: Integers, scale: Floats, zero_point: Integers) -> Quant:
    """Codes moved to begin at 0, with their zero points."""
    low = int(codes.min(initial=0))
    bits = max(int(codes.max(initial=0) - low).bit_length(), 1)
    return Quant(scale, (zero_point - low).astype(np.float32), bits, signed=False)


def of_range(low: int, high: int, scale: Floats) -> Quant:
    """The quantizer of fewest bits whose integers, less its zero point, hold all from low <= 0 to high >= 0."""
    signed = max((-low - 1).bit_length(), high.bit_length()) + 1
    unsigned = max((high - low).bit_length(), 1)
    if unsigned < signed:
        return Quant(scale, np.float32(-low) + ZERO, unsigned, signed=False)
    signed = max(signed, 2)
    return Quant(scale, ZERO, signed, narrow=low > -(2 ** (signed - 1)))


def exactly(low: int, high: int, scale: Floats) -> Quant | None:
    """The quantizer whose integers, less its zero point, are those from `low` to `high`; None where there is none.

    Without a zero point if that can be, else unsigned, as training frameworks write asymmetric ones.
    """
    bits = max((high - low).bit_length(), 1)
    ranges = [Quant(scale, ZERO, bits, signed, narrow) for narrow in (False, True) for signed in (True, False)]
    fitting = [one for one in ranges if one.high - one.low == high - low and not (one.signed and bits == 1)]
    for one in fitting:
        if one.low == low:
            return one
    return next((replace(one, zero_point=ZERO - np.float32(low)) for one in fitting if not one.signed), None)


def of_values(reals: Floats, values: Floats, scale: Floats) -> Quantizer | None:
    """The quantizer that makes `values`, integers times `scale`, of `reals`; None where there is none."""
    return next((one for one in narrow_formats(scale) if np.array_equal(one(reals), values)), None)


def narrow_formats(scale: Floats) -> Iterator[Quantizer]:
    yield BipolarQuant(scale)
    yield Quant(scale * np.float32(2), ZERO + np.float32(0.5), 1, signed=False)  # likewise, but 0 becomes -1
    for bits in range(2, 9):
        for signed in (True, False):
            yield from (Quant(scale, ZERO, bits, signed, narrow) for narrow in (True, False))
    yield from (minifloat(format, scale) for format in MINIFLOATS)


def minifloat(format: FloatFormat, scale: Floats) -> FloatQuant:
    """A format whose smallest number above 0 is `scale`."""
    whole = np.asarray(scale / np.float32(unit(format)), np.float32)
    return FloatQuant(whole, format.exponent, format.mantissa, format.bias, format.high)


def unit(format: FloatFormat) -> float:
    """The smallest number above 0."""
    return float(2.0 ** (format.smallest_exponent - format.mantissa))


def of_steps(steps: FloatSteps, scale: Floats) -> FloatQuant:
    """The minifloat of fewest exponent bits that has these steps, of which each is `scale`."""
    exponent = steps.exponents.bit_length()
    format = FloatFormat(exponent, steps.mantissa)
    return replace(minifloat(format, scale), maximum=steps.high * unit(format))
