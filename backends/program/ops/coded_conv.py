"""Conv and Gemm with weights at their true width in flash: decoded into scratch, then multiplied as integers.

A pass decodes the weights of as many output channels as fit a small scratch, and computes these channels of every
pixel:

        flash   |  codes of pass 0  |  codes of pass 1  |  ...       each pass begins at a byte
                          v
        scratch |  integers, in the order in which the loops over pixels read them  |

so that decoding costs once what all pixels share. A product with a single row decodes between its products instead, as
nothing is shared there. Where sums leave int32 (`wide`), accumulators and bias are int64. Codes and tables:
`bevel.backends.encodings.coded`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.backends.encodings import coded
from bevel.backends.encodings.coded import CODES, CodedWeights, Coding
from bevel.backends.program import examples
from bevel.backends.program.bands import Banding, Laid, Piece
from bevel.backends.program.kernel import Special
from bevel.backends.program.op import Array, Op, Operand, activation, constant, scratch, stored
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.shapes import REGISTER_TILE
from bevel.calib.arithmetic.requantize import UPPER_WORD, Output, fixed_points, requantize

SCRATCH_BYTES = 4096  # for one pass, unless a single row of weights takes more
LARGEST_INPUT = {"int8": 2**7, "int16": 2**15, "int32": 2**18}  # of examples: the last holds steps of E4M3


@dataclass(frozen=True)
class CodedConv(Op):
    """`plain`, with x of `x_dtype`, y of `plain.output.dtype`, and weights of `coding`: packed: uint8 [passes, bytes];
    where the coding has them table [2**bits], block_codes: uint8 [passes, blocks] and block_table
    [block_entries]; bias: int32 [Cout], or int64 where `wide`; multiplier: int32 [Cout]; shift: int8 [Cout].

    Sums must fit the accumulator, int32 or int64. Where `wide`, |sum * multiplier| must stay below 2**62, and shifts
    are 0 to 62; where `small`, they are 33 or more.
    """

    plain: Conv
    coding: Coding
    x_dtype: str = "int8"
    wide: bool = False
    small: bool = False

    @property
    def depthwise(self) -> bool:
        """Whether each channel is its own group; channels then lie side by side in scratch, as they do in x."""
        return self.plain.depthwise

    @property
    def direct(self) -> bool:
        """Whether weights are used once, and so decoded where they are multiplied, without scratch."""
        p = self.plain
        one_pixel = p.batch == p.height == p.width == 1 and p.kernel == (1, 1) and not any(p.pads)
        return one_pixel and p.groups == 1 and p.taps % CODES == 0 and not self.coding.block

    @property
    def rows(self) -> int:
        """Output channels of a pass: all of some groups, or a part of one. One where nothing goes through scratch."""
        if self.direct:
            return 1
        channels, of_group = self.plain.channels_out, self.plain.channels_out // self.plain.groups
        room = SCRATCH_BYTES // (self.plain.taps * np.dtype(self.coding.dtype).itemsize)
        whole = [rows for rows in divisors(channels) if rows % of_group == 0 or of_group % rows == 0]
        fitting = [rows for rows in whole if rows <= room]
        return max((rows for rows in fitting if rows % REGISTER_TILE == 0), default=max(fitting, default=1))

    @property
    def tile(self) -> int:
        """Output channels that are accumulated at once."""
        within = self.rows if self.depthwise else min(self.rows, self.plain.channels_out // self.plain.groups)
        return max(tile for tile in divisors(within) if tile <= REGISTER_TILE)

    @property
    def passes(self) -> int:
        return self.plain.channels_out // self.rows

    @property
    def codes(self) -> int:
        """Codes of one pass."""
        return self.rows * self.plain.taps

    @property
    def lanes(self) -> int:
        """Codes that lie side by side."""
        return coded.lanes_of(self.codes)

    @property
    def blocks(self) -> int:
        """Blocks of one pass."""
        window = self.plain.kernel[0] * self.plain.kernel[1]
        return self.rows * window * -(-(self.plain.taps // window) // self.coding.block)

    @property
    def macs(self) -> int:
        return self.plain.macs

    @property
    def besides(self) -> int:
        """Codes of weights, each decoded once."""
        return self.plain.channels_out * self.plain.taps

    def operands(self) -> tuple[Operand, ...]:
        p, coding, channels = self.plain, self.coding, self.plain.channels_out
        table = constant("table", (2**coding.bits,), coding.dtype)
        block_codes = constant("block_codes", (self.passes, self.blocks if coding.block else 0), "uint8")
        groups = -(-self.codes // CODES)
        return (
            activation("x", (p.batch, p.height, p.width, p.channels_in), self.x_dtype),
            constant("packed", (self.passes, coded.packed_bytes(self.codes, coding.bits)), "uint8"),
            *((table,) if coding.tabled else ()),
            *((block_codes, constant("block_table", (coding.block_entries,), coding.dtype)) if coding.block else ()),
            constant("bias", (channels,), "int64" if self.wide else "int32"),
            constant("multiplier", (channels,), "int32"),
            constant("shift", (channels,), "int8"),
            stored("y", (p.batch, *p.positions, channels), p.output),
            *(() if self.direct else (scratch("weights", (groups * CODES,), coding.dtype),)),
        )

    def reference(self, *arrays: Array) -> Array:
        x, *constants, bias, multiplier, shift = arrays
        return requantize(self.plain.sums(x, self.weights(*constants)) + bias, multiplier, shift, self.plain.output)

    def weights(self, *constants: Array) -> NDArray[np.int64]:
        """The integers that are multiplied: [Cout, kh, kw, Cin / groups]."""
        return self.stored(*constants).values()

    def stored(self, packed: Array, *tables: Array) -> CodedWeights:
        """The inverse of `constants`: codes [Cout, kh, kw, Cin / groups]."""
        p, coding = self.plain, self.coding
        shape = (p.channels_out, *p.kernel, -1)
        codes = self._rows_of(coded.unpack(packed, self.codes, coding.bits), p.taps).reshape(shape)
        table = tables[0] if coding.tabled else None
        if not coding.block:
            return CodedWeights(coding, codes.astype(np.uint16), table)
        block_codes = self._rows_of(tables[-2], self.blocks // self.rows).reshape(shape)
        return CodedWeights(coding, codes.astype(np.uint16), table, block_codes, tables[-1])

    def constants(self, stored: CodedWeights) -> tuple[Array, ...]:
        """packed, table, block_codes and block_table of weights [Cout, kh, kw, Cin / groups]."""
        found = [coded.pack(self._passes_of(stored.codes), self.coding.bits)]
        found += [stored.table] if stored.table is not None else []
        if stored.block_codes is not None and stored.block_table is not None:
            found += [self._passes_of(stored.block_codes), stored.block_table]
        return tuple(found)

    def table_of(self, constants: tuple[Array, ...]) -> CodedWeights | None:
        """The weights of a call with these constants, if a table, and nothing else, says what their codes mean."""
        return self.stored(*constants[:-3]) if self.coding.tabled and not self.coding.block else None

    def recoded(self, stored: CodedWeights, constants: tuple[Array, ...]) -> Special:
        """For a call with these constants: the operator and constants for the same weights in other codes."""
        other = replace(self, coding=stored.coding)
        return Special(other, (*other.constants(stored), *constants[-3:]))

    def _passes_of(self, of_channel: Array) -> Array:
        """What belongs to output channels, [Cout, ...], in the order of scratch: [passes, ...]."""
        by_row = of_channel.reshape(self.passes, self.rows, -1)
        return (by_row.swapaxes(1, 2) if self.depthwise else by_row).reshape(self.passes, -1)

    def _rows_of(self, of_pass: Array, count: int) -> Array:
        """The inverse of `_passes_of`: [Cout, count]."""
        if self.depthwise:
            of_pass = of_pass.reshape(self.passes, count, self.rows).swapaxes(1, 2)
        return of_pass.reshape(self.plain.channels_out, count)

    def banding(self, laid: Laid) -> Banding | None:
        """As the plain convolution; but single pixels, as bands of a narrow image are, have codes in another order."""
        found = self.plain.banding(laid)
        if found is None or self.plain.width == 1:
            return None

        def piece(first: int, end: int) -> Piece:
            plain = found.piece(first, end).op
            assert isinstance(plain, Conv)
            return Piece(replace(self, plain=plain), laid.constants)

        return replace(found, piece=piece)

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        p, x = self.plain, self.operands()[0]
        stored = coded.example(rng, (p.channels_out, *p.kernel, p.channels_in // p.groups), self.coding)
        activations = examples.integers(rng, x.shape, x.dtype, LARGEST_INPUT[x.dtype])
        weights = stored.values()
        sums = p.sums(activations, weights).reshape(-1, p.channels_out)
        middle = sums.mean(axis=0).astype(np.int64)
        deviation = np.maximum(np.abs(sums - middle).mean(axis=0), 8)
        bias = rng.integers(-(deviation.astype(np.int64)) // 4, deviation // 4, dtype=np.int64) - middle
        ratios = rng.uniform(0.1, 0.4, p.channels_out) * (p.output.high - p.output.low) / deviation
        reach = np.abs(weights).reshape(p.channels_out, -1).sum(axis=1) * LARGEST_INPUT[x.dtype] + np.abs(bias)
        bits = min(31, 62 - int(reach.max()).bit_length()) if self.wide else 31
        typed = bias.astype(np.int64 if self.wide else np.int32)
        multiplier, shift = fixed_points(ratios, bits)
        least = np.int8(UPPER_WORD if self.small else 0)
        return activations, *self.constants(stored), typed, multiplier, np.maximum(shift, least)


def call_of(
    plain: Conv, stored: CodedWeights, rescaling: tuple[Array, Array, Array], x_dtype: str = "int8", wide: bool = False
) -> Special:
    """The operator for weights [Cout, kh, kw, Cin / groups], and its constants; rescaling: bias, multiplier, shift."""
    shared = plain if any(plain.pads) else replace(plain, x_zero_point=0)  # then nothing depends on it
    small = not wide and int(rescaling[2].min()) >= UPPER_WORD
    kernel = CodedConv(shared, stored.coding, x_dtype, wide, small)
    return Special(kernel, (*kernel.constants(stored), *rescaling))


def of_gemm(rows: int, k: int, n: int, output: Output) -> Conv:
    """The convolution that computes a Gemm: each row is a pixel."""
    return Conv(1, rows, 1, k, n, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, 0, output)


def divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def cases() -> Iterable[CodedConv]:
    """Every width of codes, with tables and without; blocks; every kind of group; all types of activations."""

    def conv(
        size: tuple[int, ...],
        channels: tuple[int, int],
        kernel: tuple[int, int],
        coding: Coding,
        x_dtype: str = "int8",
        wide: bool = False,
        **changes: Any,
    ) -> CodedConv:
        batch, height, width = size
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
        plain |= {"x_zero_point": 0, "output": Output(zero_point=-3)}
        return CodedConv(Conv(batch, height, width, *channels, kernel, **(plain | changes)), coding, x_dtype, wide)

    relu, same = Output(zero_point=-128), (1, 1, 1, 1)
    short, long = Output(0, -(2**15), 2**15 - 1, "int16"), Output(0, -229376, 229376, "int32")
    for bits in range(1, 9):
        one = conv((1, 5, 4), (3, 8), (3, 3), Coding(bits, "int8"), pads=same, x_zero_point=-128, output=relu)
        yield replace(one, small=bits % 2 == 1)
    for bits in (1, 2, 4, 5):
        yield conv((2, 3, 4), (5, 6), (2, 3), Coding(bits, "int8", tabled=True), strides=(2, 1))
    for bits in (2, 3, 4):  # one row: no scratch
        yield replace(conv((1, 1, 1), (64, 9), (1, 1), Coding(bits, "int8", tabled=bits == 3)), wide=bits == 4)
    yield CodedConv(of_gemm(7, 37, 12, Output(5, -20, 90)), Coding(4, "int8"))
    yield CodedConv(of_gemm(1, 13, 5, relu), Coding(3, "int8"))
    yield conv((1, 6, 5), (64, 24), (3, 3), Coding(4, "int8"), pads=same, x_zero_point=7)  # several passes
    yield conv((1, 3, 2), (520, 3), (3, 3), Coding(2, "int8"), pads=same)  # no row fits the scratch
    yield conv((1, 9, 7), (4, 3), (2, 3), Coding(4, "int8"), dilations=(2, 3), pads=(0, 3, 2, 1), x_zero_point=5)
    yield conv((2, 6, 5), (12, 12), (3, 3), Coding(4, "int8"), groups=12, pads=same, x_zero_point=-128, output=relu)
    yield conv((1, 6, 5), (600, 600), (3, 3), Coding(3, "int8"), groups=600, strides=(2, 2), pads=(0, 0, 1, 1))
    yield conv((1, 5, 5), (3, 3), (3, 3), Coding(1, "int8"), groups=3, pads=same, x_zero_point=44)
    yield conv((1, 5, 5), (3, 6), (3, 3), Coding(2, "int8"), groups=3, pads=same, x_zero_point=44)
    yield conv((1, 4, 4), (6, 9), (3, 3), Coding(5, "int8"), groups=3, pads=(1, 0, 0, 1), x_zero_point=-1)
    yield conv((1, 4, 4), (64, 16), (3, 3), Coding(4, "int16", True, 16, 8), groups=2, pads=same)
    yield conv((1, 4, 3), (40, 6), (1, 1), Coding(4, "int16", False, 32, 16), output=short)
    yield conv((1, 4, 3), (40, 6), (1, 1), Coding(4, "int8", False, 32, 16, True))
    yield conv((1, 4, 3), (40, 8), (2, 1), Coding(3, "int8", True, 16, 4, True), x_zero_point=9, pads=(1, 0, 0, 0))
    yield conv((1, 4, 3), (6, 6), (3, 3), Coding(4, "int32", True, 32, 256), "int16", True, groups=6, pads=same)
    yield conv((1, 4, 3), (5, 7), (3, 3), Coding(8, "int32", True), "int32", True, output=long, pads=same)
    yield conv((1, 4, 3), (5, 8), (2, 2), Coding(6, "int16", True), "int16", True, output=short, x_zero_point=9)
    yield conv((1, 4, 3), (5, 8), (2, 2), Coding(12, "int16"), "int16", True, output=short, pads=same, x_zero_point=9)
    yield conv((1, 4, 3), (5, 4), (1, 1), Coding(16, "int16"), wide=True)
    yield conv((1, 4, 3), (5, 4), (2, 2), Coding(4, "int8"), "int16", output=short)
    yield conv((1, 4, 3), (5, 4), (2, 2), Coding(4, "int8"), "int32", True, output=long)
