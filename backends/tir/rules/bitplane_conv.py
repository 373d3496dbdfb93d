"""Conv and Gemm with weights of one or two bits and activations of few, by AND and population count.

        x        int8 pixels   ->   planes of the padded image, in scratch: each pixel once
        window   the words of one output pixel's taps, side by side: gathered once for all output channels
        y        for each output channel: window AND weights, counted, weighed, rescaled

Measured on ResNet-8 models with binary weights, as a share of what the kernels otherwise chosen take. Activations of
one bit: a third of the time on x86-64, 0.6 to 0.65 of the instructions on a Cortex-M7, for 10 to 16 % more flash. Of
two bits: 0.65 of the time, but 0.95 of the instructions on a Cortex-M7, so that the rule leaves them to the DSP
extension. Cores without it gain with up to four bits: two bits take 0.4 of the instructions on a Cortex-M0+, for ten
kilobytes more flash. CPUs multiply bytes faster than four planes of products. NEON was not measured, and Helium is left
out.

Which values x takes, [x_low, x_low + 2**x_bits), is known from the calls that wrote it. The arithmetic:
`bevel.backends.encodings.bitplanes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bevel.backends.encodings import bitplanes
from bevel.backends.encodings.bitplanes import StridedCodes
from bevel.backends.program.kernel import WIDER, Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, constant, scratch
from bevel.backends.program.ops.coded_conv import of_gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.target import Target
from bevel.backends.tir.bitplane_windows import QUAD, PlaneWindows
from bevel.backends.tir.bitplanes import popcount
from bevel.backends.tir.lazy import T
from bevel.backends.tir.windows import WindowSums
from bevel.calib.arithmetic.requantize import UPPER_WORD, Int64, Output, fixed_points, requantize

CPU_LANES = 4
# Planes of products on CPUs, measured on x86-64 against what LLVM makes of int8: four are slower in whole models.
MOST_PRODUCTS = 2
MOST_ANDS = 40  # that are added up together: they become two kilobytes of code
MOST_BITS = 4  # of activations there: the planes of more take as much RAM as the activations do


@dataclass(frozen=True)
class BitplaneConv(Kernel):
    """`plain`, ungrouped, for x in [x_low, x_low + 2**x_bits) and weights by `codes`: planes: uint`word` [Cout / lanes,
    words, bits, lanes]; bias, multiplier: int32 [Cout]; shift: int8 [Cout].

    bias already holds b - x_zero_point * sum(w) + x_low * sum(w). `lanes` output channels are summed at once.
    `carry_save`: words are added before they are counted.
    """

    plain: Conv
    codes: StridedCodes
    x_low: int
    x_bits: int
    word: int
    lanes: int
    carry_save: bool
    chunk: int = 8
    small: bool = False

    @property
    def windows(self) -> PlaneWindows:
        return PlaneWindows(self.plain, self.x_low, self.x_bits, self.word)

    @property
    def words(self) -> int:
        """Of one plane of a window."""
        return self.windows.words

    @property
    def op(self) -> Op:
        return self.plain

    @property
    def besides(self) -> int:
        """Words of 64 bits that are counted; of shorter ones, instructions of a Cortex-M7."""
        p = self.plain
        pixels = p.batch * prod(p.positions)
        if self.word == 64:
            return pixels * p.channels_out * self.words * self.x_bits * self.codes.bits
        return round(self.instructions() * pixels)

    def instructions(self) -> float:
        """About how many a Cortex-M7 takes for one pixel and all output channels, carry-save; measured within 15 %."""
        p, (height, width) = self.plain, self.windows.image
        read = height * width / prod(p.positions)
        cut = read * self.windows.units * self.windows.unit / QUAD * (QUAD + 4 * self.x_bits)
        window = 17 * self.words * self.x_bits  # gathered, and added up
        products, chunks = self.x_bits * self.codes.bits, -(-self.words // self.chunk)
        ands, counted = self.words * products, chunks * ((self.chunk * products).bit_length() + 1)
        return cut + window + p.channels_out * (8.5 * ands + 11 * counted + 12)

    def operands(self) -> tuple[Operand, ...]:
        x, _, bias, multiplier, shift, y = self.plain.operands()
        blocks = self.plain.channels_out // self.lanes
        typed, unit = f"uint{self.word}", f"uint{self.windows.unit}"
        return (
            x,
            constant("planes", (blocks, self.words, self.codes.bits, self.lanes), typed),
            bias,
            multiplier,
            shift,
            y,
            scratch("image", (self.x_bits, *self.windows.image, self.windows.units), unit),
            scratch("window", (self.x_bits, self.words), typed),
        )

    def constants(self, weights: Array, bias: Array, multiplier: Array, shift: Array) -> tuple[Array, ...]:
        """From those of `plain`: weights [Cout, kh, kw, Cin]."""
        codes = self.codes.of(weights).reshape(len(weights), -1, self.plain.channels_in)
        padded = np.pad(codes, ((0, 0), (0, 0), (0, self.windows.units * self.windows.unit - self.plain.channels_in)))
        planes = bitplanes.planes_of(padded.reshape(len(weights), -1), self.codes.bits, self.word)
        by_block = planes.reshape(-1, self.lanes, self.words, self.codes.bits).transpose(0, 2, 3, 1)
        folded = bias.astype(np.int64) + self.x_low * sums_of(weights)
        return np.ascontiguousarray(by_block), folded.astype(np.int32), multiplier, shift

    def weights(self, planes: Array) -> Int64:
        """The inverse of `constants`: [Cout, kh, kw, Cin]."""
        p = self.plain
        by_channel = planes.transpose(0, 3, 1, 2).reshape(p.channels_out, self.words, self.codes.bits)
        taps = prod(p.kernel)
        codes = bitplanes.integers_of(by_channel, taps * self.windows.units * self.windows.unit).reshape(
            p.channels_out, taps, -1
        )
        used = codes[..., : p.channels_in].reshape(p.channels_out, *p.kernel, p.channels_in)
        return self.codes.weights(used)

    def reference(self, *arrays: Array) -> Array:
        x, planes, bias, multiplier, shift = arrays
        weights = self.weights(planes)
        unfolded = bias.astype(np.int64) - self.x_low * sums_of(weights)
        return requantize(self.plain.sums(x, weights) + unfolded, multiplier, shift, self.plain.output)

    def build(self, name: str) -> Any:
        p, (height, width), units = self.plain, self.windows.image, self.windows.units
        channels, (rows, columns), word, blocks = p.channels_out, p.positions, f"uint{self.word}", 0
        x_shape, y_shape = p.operands()[0].shape, p.operands()[-1].shape
        planes, x_bits, words = self.operands()[1].shape, self.x_bits, self.words
        blocks, lanes, base = planes[0], self.lanes, self.codes.base
        cut, gather, total, count = self.windows.cut(), self.windows.gather(), self._total, self._count()
        stride, output, unit, batch = self.codes.stride, p.output, f"uint{self.windows.unit}", p.batch
        requantized = WindowSums(small=self.small).requantize

        @T.prim_func(s_tir=True)
        def bitplane_conv(
            X: T.Buffer(x_shape, "int8"),
            W: T.Buffer(planes, word),
            B: T.Buffer((channels,), "int32"),
            M: T.Buffer((channels,), "int32"),
            S: T.Buffer((channels,), "int8"),
            Y: T.Buffer(y_shape, "int8"),
            P: T.Buffer((x_bits, height, width, units), unit),
            V: T.Buffer((x_bits, words), word),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            for n in T.serial(batch):
                cut(X, P, n)
                for y, x in T.grid(rows, columns):
                    gather(P, V, y, x)
                    U = T.alloc_buffer((1,), "int32")
                    U[0] = total(V) * base
                    for block in T.serial(blocks):
                        A = T.alloc_buffer((lanes,), word)
                        R = T.alloc_buffer((1,), "int32")
                        count(V, W, A, block)
                        for u in T.unroll(lanes):
                            channel = T.meta_var(block * lanes + u)
                            # By way of memory: TVM would widen each term of the sum in its place.
                            R[0] = T.cast(A[u], "int32") * stride + U[0] + B[channel]
                            Y[n, y, x, channel] = requantized(R[0], M[channel], S[channel], output)

        return bitplane_conv

    def _total(self, V: Any) -> Any:
        """sum(u) of a window, as an int32 expression."""
        ones: Any = T.int32(0)
        if self.codes.base:
            for i, q in np.ndindex(self.x_bits, self.words):
                ones = ones + (T.cast(popcount(V[i, q], self.word), "int32") << i)
        return ones

    def _count(self) -> Any:
        """A TIR macro (V, W, A, block): the weighed counts of a block's channels."""
        word, lanes = f"uint{self.word}", self.lanes
        chunks, rest = divmod(self.words, self.chunk)
        kept = bitplanes.values_kept(level for level, *_ in self._products(self.chunk))

        @T.macro
        def count(V, W, A, block):
            for u in T.unroll(lanes):
                A[u] = T.IntImm(word, 0)
            R = T.alloc_buffer((lanes, kept), word)
            for chunk in T.serial(chunks):
                self._add(V, W, A, R, (block, chunk * self.chunk), self.chunk)
            if rest > 0:
                self._add(V, W, A, R, (block, chunks * self.chunk), rest)

        return count

    def _products(self, words: int) -> Iterator[tuple[int, int, int, int]]:
        """(level, word, plane of x, plane of w) of every AND."""
        for q in range(words):
            for i, j in np.ndindex(self.x_bits, self.codes.bits):
                yield i + j, q, i, j

    def _add(self, V: Any, W: Any, A: Any, R: Any, place: tuple[Any, Any], words: int) -> None:
        """Statements: the counts of `words` words to A, for each lane."""
        block, first = place
        for u in range(self.lanes):
            kept = iter(range(10**6))

            def keep(value: Any, u: int = u, kept: Iterator[int] = kept) -> Any:
                index = next(kept)
                T.buffer_store(R, value, [u, index])
                return R[u, index]

            products = [
                (level, V[i, first + q] & W[block, first + q, j, u]) for level, q, i, j in self._products(words)
            ]
            if self.carry_save:
                products = bitplanes.added(products, keep)
            for level, ones in products:
                count = popcount(ones, self.word)
                T.buffer_store(A, A[u] + (count << T.IntImm(f"uint{self.word}", level)), [u])

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        """x of any value that it may have, both ends included."""
        p, (x, *_) = self.plain, self.operands()
        values = rng.integers(0, 2**self.x_bits, x.shape)
        values.flat[0], values.flat[-1] = 0, 2**self.x_bits - 1
        codes = rng.integers(0, 2**self.codes.bits, (p.channels_out, *p.kernel, p.channels_in))
        given = (values + self.x_low).astype(np.int8), self.codes.weights(codes)
        bias = -p.sums(*given).reshape(-1, p.channels_out).mean(axis=0).astype(np.int64)
        sizes = 2.0**self.x_bits * self.codes.stride * 2**self.codes.bits * np.sqrt(p.taps)
        ratios = rng.uniform(20, 90, p.channels_out) / sizes
        if p.output.even:
            ratios = np.exp2(np.rint(np.log2(ratios)))
        return given[0], *self.constants(given[1], bias, *fixed_points(ratios))


def specialize(call: Call, target: Target) -> Special | str:
    """The rule: weights of one or two bits, and activations so few that fewer instructions are estimated."""
    plain = plain_of(call.kernel)
    if isinstance(plain, str):
        return plain
    if plain.output.dtype != "int8":
        return WIDER
    if "mve" in target.abilities:
        return "left to vectors of bytes"
    weights, bias, multiplier, shift = call.constants
    codes = bitplanes.codes_for(call.occurring(weights))
    if isinstance(codes, str):
        return codes
    low, bits = range_of(call, plain)
    shaped = weights.reshape(plain.operands()[1].shape)
    if largest_sum(shaped, bias, codes, low, bits) >= 2**31:
        return "sums may leave 32 bits on their way"
    small = int(shift.min()) >= UPPER_WORD
    machine = for_microcontroller if target.bare else for_cpu
    kernel = machine(BitplaneConv(plain, codes, low, bits, 32, 1, True, small=small))
    return kernel if isinstance(kernel, str) else Special(kernel, kernel.constants(shaped, bias, multiplier, shift))


def plain_of(kernel: Op) -> Conv | str:
    match kernel:
        case Gemm():
            return of_gemm(kernel.rows, kernel.k, kernel.n, kernel.output)
        case Conv() if kernel.groups == 1:
            return kernel
        case _:
            return "no ungrouped sums of products"


def range_of(call: Call, plain: Conv) -> tuple[int, int]:
    """The lowest activation, padding included, and the bits that all take from there."""
    low, high = call.input_bounds[0] or (-128, 127)
    if any(plain.pads):
        low, high = min(low, plain.x_zero_point), max(high, plain.x_zero_point)
    bits = max(1, (high - low).bit_length())
    return min(low, 128 - 2**bits), bits


def largest_sum(weights: Array, bias: Array, codes: StridedCodes, low: int, bits: int) -> int:
    """Nothing that is added up is larger: counts, the window's sum, or the bias with what is folded into it."""
    folded = np.abs(bias.astype(np.int64) + low * sums_of(weights)).max()
    taps, factor = weights[0].size, codes.stride * (2**codes.bits - 1) + abs(codes.base)
    return int(folded) + int(taps * (2**bits - 1) * factor)


def for_cpu(kernel: BitplaneConv) -> BitplaneConv | str:
    """Words of 64 bits, for four channels at a time: one vector of AVX2, two of NEON. These count by themselves."""
    plain, products = kernel.plain, kernel.x_bits * kernel.codes.bits
    if plain.channels_out % CPU_LANES:
        return f"{plain.channels_out} output channels do not come in fours"
    chosen = replace(kernel, word=64, lanes=CPU_LANES)
    if products > MOST_PRODUCTS:
        return f"{products} planes of products for each weight"
    return replace(chosen, carry_save=False, chunk=1)


def for_microcontroller(kernel: BitplaneConv) -> BitplaneConv | str:
    """Words of 32 bits, added before they are counted: there is no instruction that counts."""
    if kernel.x_bits > MOST_BITS:
        return f"activations of {kernel.x_bits} bits"
    chunks = -(-kernel.words * kernel.x_bits * kernel.codes.bits // MOST_ANDS)
    return replace(kernel, chunk=-(-kernel.words // chunks))


def sums_of(weights: Array) -> NDArray[np.int64]:
    """Of each output channel."""
    total: NDArray[np.int64] = weights.astype(np.int64).sum(axis=tuple(range(1, weights.ndim)))
    return total


class Machine(NamedTuple):
    """How a kernel counts."""

    word: int
    lanes: int
    carry_save: bool


def cases() -> Iterable[BitplaneConv]:
    """Words and parts of words; one to eight planes; padding, strides, dilations; several chunks; Gemm."""

    def conv(
        size: tuple[int, ...], channels: tuple[int, int], kernel: tuple[int, int], codes: StridedCodes,
        x: tuple[int, int], machine: Machine, **changes: Any,
    ) -> BitplaneConv:  # fmt: skip
        batch, height, width = size
        plain: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
        plain |= {"x_zero_point": x[0], "output": Output(zero_point=-3)}
        geometry = Conv(batch, height, width, *channels, kernel, **(plain | changes))
        return BitplaneConv(geometry, codes, *x, machine.word, machine.lanes, machine.carry_save)

    same, binary, ternary, int2 = (1, 1, 1, 1), StridedCodes(1, -1, 2), StridedCodes(2, -1, 1), StridedCodes(2, -2, 1)
    short, long = Machine(32, 1, True), Machine(64, 4, False)
    yield conv((1, 5, 4), (16, 8), (3, 3), binary, (-128, 1), short, pads=same)
    yield conv((2, 5, 5), (32, 12), (3, 3), ternary, (-128, 2), long, pads=same, strides=(2, 2))
    yield conv((1, 5, 4), (37, 6), (3, 3), int2, (-5, 2), short, pads=same, x_zero_point=-4)
    yield conv((1, 5, 4), (70, 8), (3, 2), binary, (-1, 3), long, pads=same, x_zero_point=3)
    yield conv((1, 4, 6), (3, 5), (2, 3), int2, (-128, 8), short, pads=(0, 2, 1, 0), dilations=(1, 2), x_zero_point=9)
    yield conv((1, 4, 6), (64, 4), (2, 2), StridedCodes(1, 0, 3), (-128, 8), long, pads=same, x_zero_point=127)
    yield conv((1, 3, 3), (130, 3), (3, 3), ternary, (4, 2), short, pads=same, x_zero_point=5)  # several chunks
    yield conv((1, 3, 3), (96, 8), (1, 1), StridedCodes(2, -3, 2), (-2, 4), Machine(32, 2, True))
    yield BitplaneConv(of_gemm(3, 200, 8, Output(5, -20, 90)), binary, -128, 2, 64, 4, False)
    yield BitplaneConv(of_gemm(30, 77, 5, Output(3, even=True)), ternary, 0, 4, 32, 1, True)
    yield BitplaneConv(of_gemm(1, 77, 5, Output()), ternary, 0, 4, 32, 1, True, small=True)
