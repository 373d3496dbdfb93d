"""Coded weights for the DSP extension, where their integers fit int16: two products an instruction.

As in `coded_conv`, a pass decodes the weights of some output channels into scratch. Then the window of each pixel, or
of two neighbours, is widened to int16, and multiplied with four channels at a time: how words lie says
`backends/cortex_m/c/bevel_coded.h`. Where input channels come in fours, a word widens to two words of every second
byte; weights are packed in that order of taps. Sums in 64 bits leave registers for one pixel only. Where output
channels do not come in fours, others fill up the last ones, and are not stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.dsp import call_void
from bevel.backends.encodings import coded
from bevel.backends.encodings.coded import CodedWeights, Coding
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, Role, constant, scratch
from bevel.backends.program.ops.coded_conv import CodedConv, of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.program.shapes import blocks_of
from bevel.backends.target import Target
from bevel.backends.tir.kernels.coded_conv import decoder, keeping, scaled, sums_of
from bevel.backends.tir.lazy import T
from bevel.backends.tir.loops import inside_image
from bevel.calib.arithmetic.requantize import Output

SCRATCH_BYTES = 9216  # for the weights of one pass, unless four channels take more
CHANNELS = 4  # that are summed at once
FILLED_UP = 32  # of so many channels one may be computed for nothing, where passes get fewer by it
QUAD = 4  # input channels that are widened at once
WIDENED = [0, 2, 1, 3]  # the order of a quad's taps


@dataclass(frozen=True)
class CodedConvDsp(Kernel):
    """`inner`, whose weights and activations fit int16, ungrouped; its constants in the order of this kernel's passes,
    of as many output channels as whole passes have."""

    rates: ClassVar[Rates] = Rates(mac=1.36, output=13.8, besides=3.2, code=1380)

    inner: CodedConv

    @property
    def plain(self) -> Conv:
        return self.inner.plain

    @property
    def pixels(self) -> int:
        """Pixels that are computed at once."""
        return 1 if self.inner.wide else 2

    @property
    def channels(self) -> int:
        """Output channels with those that fill up the last pass."""
        return self.passes * self.rows

    @property
    def depth(self) -> int:
        return self.plain.channels_in

    @property
    def quads(self) -> bool:
        """Whether taps are widened four at a time."""
        return self.inner.x_dtype == "int8" and self.depth % QUAD == 0

    @property
    def pairs(self) -> int:
        """Words of one window."""
        return -(-self.plain.taps // 2)

    @property
    def rows(self) -> int:
        """Output channels of a pass: fours, so many that few channels fill up the last, none if they come in fours."""
        room = max(CHANNELS, SCRATCH_BYTES // (4 * self.pairs))
        fours = blocks_of(self.plain.channels_out, CHANNELS) * CHANNELS
        most = fours + (fours // FILLED_UP if self.plain.channels_out % CHANNELS else 0)
        sizes = range(CHANNELS, min(room, fours) + 1, CHANNELS)
        return max(rows for rows in sizes if blocks_of(fours, rows) * rows <= most)

    @property
    def passes(self) -> int:
        return blocks_of(self.plain.channels_out, self.rows)

    @property
    def codes(self) -> int:
        """Codes of one pass."""
        return self.rows * self.pairs * 2

    @property
    def blocks(self) -> int:
        """Blocks of one output channel."""
        coding, window = self.inner.coding, self.plain.kernel[0] * self.plain.kernel[1]
        return window * -(-self.depth // coding.block) if coding.block else 0

    @cached_property
    def order(self) -> Array:
        """Which weight each code is, [passes, codes]; what fills up a window's last word or a pass is none, -1."""
        weights = np.arange(self.plain.channels_out * self.plain.taps).reshape(self.plain.channels_out, -1)
        if self.quads:
            weights = weights.reshape(len(weights), -1, QUAD)[..., WIDENED].reshape(len(weights), -1)
        missing = (0, self.channels - self.plain.channels_out), (0, weights.shape[1] % 2)
        filled = np.pad(weights, missing, constant_values=-1)
        by_channel = filled.reshape(self.passes, -1, CHANNELS, self.pairs, 2)
        result: Array = by_channel.swapaxes(2, 3).reshape(self.passes, -1)
        return result

    @cached_property
    def block_order(self) -> Array:
        """Which block each factor is of, [passes, rows * blocks]; -1 of channels that fill up a pass."""
        count = self.plain.channels_out * self.blocks
        blocks = np.pad(np.arange(count), (0, self.channels * self.blocks - count), constant_values=-1)
        by_channel = blocks.reshape(self.passes, -1, CHANNELS, self.blocks)
        result: Array = by_channel.swapaxes(2, 3).reshape(self.passes, -1)
        return result

    def operands(self) -> tuple[Operand, ...]:
        x, *_, bias, multiplier, shift = self.inner.roles(Role.INPUT, Role.CONSTANT)
        tables = [operand for operand in self.inner.roles(Role.CONSTANT) if operand.name in ("table", "block_table")]
        block_codes = constant("block_codes", (self.passes, self.rows * self.blocks), "uint8")
        of_blocks = (block_codes, tables[-1]) if self.inner.coding.block else ()
        bytes_of_pass = coded.packed_bytes(self.codes, self.inner.coding.bits)
        return (
            x,
            constant("packed", (self.passes, bytes_of_pass), "uint8"),
            *(tables[:1] if self.inner.coding.tabled else ()),
            *of_blocks,
            *(replace(one, shape=(self.channels,)) for one in (bias, multiplier, shift)),
            *self.inner.roles(Role.OUTPUT),
            scratch("weights", (self.codes,), "int16"),  # codes are a multiple of eight
            scratch("window", (self.pairs * 2 * self.pixels,), "int16"),
            scratch("sums", (CHANNELS * self.pixels,), sums_of(self.inner).accumulator),
        )

    @property
    def op(self) -> Op:
        return self.inner

    @property
    def header(self) -> str:
        return "bevel_coded.h"

    def constants(self, stored: CodedWeights) -> tuple[Array, ...]:
        """packed, table, block_codes and block_table of weights [Cout, kh, kw, Cin]."""
        codes = np.where(self.order < 0, 0, stored.codes.ravel()[self.order])
        found = [coded.pack(codes, self.inner.coding.bits)]
        found += [stored.table] if stored.table is not None else []
        if stored.block_codes is not None and stored.block_table is not None:
            block_codes = np.where(self.block_order < 0, 0, stored.block_codes.ravel()[self.block_order])
            found += [block_codes, stored.block_table]
        return tuple(found)

    def filled(self, *rescaling: Array) -> tuple[Array, ...]:
        """bias, multiplier and shift of all channels: those that fill up a pass repeat the last."""
        return tuple(np.pad(one, (0, self.channels - len(one)), mode="edge") for one in rescaling)

    def stored(self, packed: Array, *tables: Array) -> CodedWeights:
        """The inverse of `constants`."""
        coding, shape = self.inner.coding, (self.plain.channels_out, *self.plain.kernel, -1)
        codes = np.zeros(self.plain.channels_out * self.plain.taps, np.uint16)
        real = self.order >= 0
        codes[self.order[real]] = coded.unpack(packed, self.codes, coding.bits)[real]
        table = tables[0] if coding.tabled else None
        if not coding.block:
            return CodedWeights(coding, codes.reshape(shape), table)
        block_codes = np.zeros(self.plain.channels_out * self.blocks, np.uint8)
        of_blocks = self.block_order >= 0
        block_codes[self.block_order[of_blocks]] = tables[-2][of_blocks]
        return CodedWeights(coding, codes.reshape(shape), table, block_codes.reshape(shape), tables[-1])

    def reference(self, *arrays: Array) -> Array:
        x, *constants, bias, multiplier, shift = arrays
        rescaling = (one[: self.plain.channels_out] for one in (bias, multiplier, shift))
        return self.inner.reference(x, *self.inner.constants(self.stored(*constants)), *rescaling)

    def build(self, name: str) -> Any:
        """Of every operand there may be, the function takes those that this kernel has."""
        operands = {operand.name: operand for operand in self.operands()}
        x, packed, bias, y = (operands[key] for key in ("x", "packed", "bias", "y"))
        window, sums = operands["window"], operands["sums"]
        channels, levels, entries = self.channels, 2**self.inner.coding.bits, self.inner.coding.block_entries
        codes, total_blocks, passes = self.codes, channels * self.blocks, self.passes
        decode, scale, every_pixel = decoder(self.inner.coding, codes), self._scale(), self._every_pixel()

        @T.prim_func(s_tir=True)
        def conv(
            X: T.Buffer((x.size,), x.dtype),
            W: T.Buffer((packed.size,), "uint8"),
            table: T.Buffer((levels,), "int16"),
            block_codes: T.Buffer((total_blocks,), "uint8"),
            block_table: T.Buffer((entries,), "int16"),
            B: T.Buffer((channels,), bias.dtype),
            M: T.Buffer((channels,), "int32"),
            S: T.Buffer((channels,), "int8"),
            Y: T.Buffer((y.size,), y.dtype),
            P: T.Buffer((codes,), "int16"),
            V: T.Buffer((window.size,), "int16"),
            A: T.Buffer((sums.size,), sums.dtype),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for step in T.serial(passes):
                decode(W, table, P, step)
                scale(block_codes, block_table, P, step)
                every_pixel(X, P, V, A, B, M, S, Y, step)

        order = ("x", "packed", "table", "block_codes", "block_table", "bias", "multiplier", "shift", "y", "weights")
        return keeping(conv, [operand in operands for operand in (*order, "window", "sums")])

    def _scale(self) -> Any:
        """A TIR macro: the integers of each block times its factor. Quads lie in one block."""
        coding, groups, pairs = self.inner.coding, self.rows // CHANNELS, self.pairs
        window, blocks = self.plain.kernel[0] * self.plain.kernel[1], self.blocks
        of_tap, words, all_words = blocks // window, coding.block // 2, self.depth // 2

        @T.macro
        def scale(block_codes, block_table, P, step):
            if coding.block > 0:
                for group, tap, block, u in T.grid(groups, window, of_tap, CHANNELS):
                    number = T.meta_var((((step * groups + group) * window + tap) * of_tap + block) * CHANNELS + u)
                    first = T.meta_var(group * pairs + tap * all_words + block * words)
                    for word in T.serial(T.min(words, all_words - block * words)):
                        for half in T.unroll(2):
                            place = T.meta_var(((first + word) * CHANNELS + u) * 2 + half)
                            P[place] = scaled(coding, P[place], block_table, T.cast(block_codes[number], "int32"))

        return scale

    def _every_pixel(self) -> Any:
        """A TIR macro: the window of each pixel or two, then the outputs from it. The last two may overlap others."""
        p, pixels, pairs = self.plain, self.pixels, self.pairs
        (rows, columns), batch, channels = p.positions, p.batch, p.channels_out
        groups, of_pass, widen, store = self.rows // CHANNELS, self.rows, self._widen(), self._store()
        helper = f"sum_{pixels}x{CHANNELS}"

        @T.macro
        def every_pixel(X, P, V, A, B, M, S, Y, step):
            for n, y, part in T.grid(batch, rows, -(-columns // pixels)):
                x = T.meta_var(T.min(part * pixels, columns - pixels))
                for pixel in T.serial(pixels):
                    widen(X, V, n, y, x + pixel, pixel)
                for group in T.serial(groups):
                    first = T.meta_var(step * of_pass + group * CHANNELS)
                    weights = T.meta_var(T.address_of(P[group * pairs * 2 * CHANNELS]))
                    call_void(helper, T.address_of(V[0]), weights, pairs, T.address_of(B[first]), T.address_of(A[0]))
                    store(A, M, S, Y, ((n * rows + y) * columns + x) * channels + first, first)

        return every_pixel

    def _store(self) -> Any:
        """A TIR macro (A, M, S, Y, place, first): sums to results of the channels from `first` on."""
        channels, pixels, sums, output = self.plain.channels_out, self.pixels, sums_of(self.inner), self.plain.output
        shared = sums.small and pixels == 2 and output.dtype == "int8" and not output.even
        bounds, filled_up = (output.zero_point, output.low, output.high), channels % CHANNELS > 0

        @T.macro
        def each(A, M, S, Y, place, first):
            for u, pixel in T.grid(T.min(CHANNELS, channels - first) if filled_up else CHANNELS, pixels):
                total = T.meta_var(A[u * pixels + pixel])
                result = T.meta_var(sums.requantize(total, M[first + u], S[first + u], output))
                Y[place + pixel * channels + u] = result

        @T.macro
        def four(A, M, S, Y, place, first):
            scaling = T.meta_var((T.address_of(M[first]), T.address_of(S[first])))
            call_void("store_2x4", T.address_of(A[0]), *scaling, *bounds, T.address_of(Y[place]), channels)

        @T.macro
        def store(A, M, S, Y, place, first):
            if shared and filled_up:
                if first + CHANNELS <= channels:
                    four(A, M, S, Y, place, first)
                else:
                    each(A, M, S, Y, place, first)
            elif shared:
                four(A, M, S, Y, place, first)
            else:
                each(A, M, S, Y, place, first)

        return store

    def _widen(self) -> Any:
        """A TIR macro (X, V, n, y, x, pixel): the window of an output pixel into every `pixels`-th word of V."""
        p, pixels, depth, quads = self.plain, self.pixels, self.depth, self.quads
        (kh, kw), (down, right), (row_step, column_step) = p.kernel, p.strides, p.dilations
        (top, left, _, _), odd, last = p.pads, p.taps % 2, self.pairs - 1

        @T.macro
        def inside(X, V, source, tap, pixel):
            if quads:
                to = T.meta_var(T.address_of(V[tap * pixels + pixel * 2]))
                call_void("widen_quads", to, T.address_of(X[source]), depth // QUAD, pixels)
            else:
                for c in T.serial(depth):
                    V[place_of(tap + c, pixel, pixels)] = T.cast(X[source + c], "int16")

        @T.macro
        def widen(X, V, n, y, x, pixel):
            for i, j in T.grid(kh, kw):
                row = T.meta_var(y * down + i * row_step - top)
                column = T.meta_var(x * right + j * column_step - left)
                tap = T.meta_var((i * kw + j) * depth)
                if inside_image(row, column, p.height, p.width, p.pads):
                    inside(X, V, ((n * p.height + row) * p.width + column) * depth, tap, pixel)
                elif depth % 2 == 0:
                    to = T.meta_var(T.address_of(V[tap * pixels + pixel * 2]))
                    call_void("fill_words", to, p.x_zero_point, depth // 2, pixels)
                else:
                    for c in T.serial(depth):
                        V[place_of(tap + c, pixel, pixels)] = T.int16(p.x_zero_point)
            if odd > 0:
                V[(last * pixels + pixel) * 2 + 1] = T.int16(0)

        return widen

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, *constants, bias, multiplier, shift = self.inner.example(rng)
        return x, *self.constants(self.inner.stored(*constants)), *self.filled(bias, multiplier, shift)


def place_of(tap: Any, pixel: Any, pixels: int) -> Any:
    """Where a tap of a window lies among the words of `pixels` windows."""
    return (tap // 2 * pixels + pixel) * 2 + tap % 2


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: coded weights that take part in ungrouped products of more than one pixel."""
    inner = call.kernel
    if "dsp" not in target.abilities:
        return "the target has no DSP extension"
    if not isinstance(inner, CodedConv):
        return "no coded weights"
    if inner.plain.groups != 1:
        return "grouped"
    if "int32" in (inner.coding.dtype, inner.x_dtype):
        return "32-bit factors"
    if inner.coding.block % QUAD or (inner.coding.block and inner.plain.channels_in % QUAD):
        return "blocks that cut fours of input channels"
    *constants, bias, multiplier, shift = call.constants
    plain = flat(inner.plain)
    if plain.positions[1] < CodedConvDsp(inner).pixels:
        return "rows of a single pixel"
    stored = as_int16(inner.stored(*constants))
    kernel = CodedConvDsp(replace(inner, plain=plain, coding=stored.coding))
    return Special(kernel, (*kernel.constants(stored), *kernel.filled(bias, multiplier, shift)))


def flat(plain: Conv) -> Conv:
    """A convolution of single pixels as one long row."""
    single = plain.kernel == plain.strides == (1, 1) and not any(plain.pads)
    return replace(plain, batch=1, height=1, width=plain.batch * plain.height * plain.width) if single else plain


def as_int16(stored: CodedWeights) -> CodedWeights:
    """The same weights with tables of int16, which their integers are decoded to."""
    table = None if stored.table is None else stored.table.astype(np.int16)
    factors = None if stored.block_table is None else stored.block_table.astype(np.int16)
    return stored._replace(coding=replace(stored.coding, dtype="int16"), table=table, block_table=factors)


def cases() -> Iterable[CodedConvDsp]:
    """Windows widened by quads and by ones, odd ones, one pixel and two; passes; blocks; every type of result."""

    def conv(
        size: tuple[int, ...], channels: tuple[int, int], kernel: tuple[int, int], coding: Coding, **changes: Any
    ) -> CodedConvDsp:
        batch, height, width = size
        kinds = {key: changes.pop(key) for key in ("x_dtype", "wide", "small") if key in changes}
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
        plain |= {"x_zero_point": 0, "output": Output(zero_point=-3)}
        return CodedConvDsp(
            CodedConv(Conv(batch, height, width, *channels, kernel, **(plain | changes)), coding, **kinds)
        )

    same, short = (1, 1, 1, 1), Output(0, -(2**15), 2**15 - 1, "int16")
    yield conv((2, 5, 4), (8, 8), (3, 3), Coding(4, "int16"), pads=same, x_zero_point=-128, small=True)
    yield conv((1, 5, 5), (3, 12), (3, 3), Coding(6, "int16", True), pads=same, x_zero_point=7, strides=(2, 2))
    yield conv((1, 4, 7), (64, 16), (3, 3), Coding(4, "int16", True, 16, 8), pads=same, x_zero_point=3)
    yield conv((1, 4, 3), (40, 4), (1, 1), Coding(4, "int16", False, 32, 16), output=short)
    yield conv((1, 4, 3), (40, 4), (1, 1), Coding(4, "int16", False, 16, 16, True), x_zero_point=7)
    yield conv((1, 4, 3), (8, 8), (2, 3), Coding(6, "int16", True), wide=True, dilations=(1, 1), output=short)
    yield conv((1, 4, 3), (5, 8), (2, 2), Coding(12, "int16"), x_dtype="int16", wide=True, pads=same, x_zero_point=9)
    yield conv((1, 4, 6), (5, 4), (2, 2), Coding(4, "int16"), dilations=(1, 2), pads=(0, 2, 1, 0), x_zero_point=-9)
    yield conv((1, 3, 4), (4, 4), (2, 2), Coding(3, "int16"), x_dtype="int16", output=short, x_zero_point=-5, pads=same)
    yield CodedConvDsp(CodedConv(flat(of_gemm(7, 36, 12, Output(5, -20, 90))), Coding(8, "int16")))
    yield conv((1, 3, 2), (300, 8), (3, 3), Coding(2, "int16"), pads=same)  # two passes
    yield conv((1, 1, 3), (64, 130), (1, 1), Coding(4, "int16"), small=True)  # passes that are filled up
    for channels in (1, 6, 11):
        yield conv((1, 5, 4), (4, channels), (3, 3), Coding(4, "int16"), pads=same, small=True, x_zero_point=5)
        yield conv((1, 4, 3), (5, channels), (2, 2), Coding(12, "int16"), x_dtype="int16", wide=True, output=short)
        yield conv((1, 4, 6), (8, channels), (1, 1), Coding(4, "int16", True, 4, 8), output=short)
