"""Depthwise Conv for cores with the DSP extension: two taps a multiply-accumulate, on a channel's pixels side by side.

SMLAD multiplies two halfwords by two others and adds both products to a sum. In a channels-last image the neighbours of
a byte belong to other channels, so four channels at a time are first unfolded into scratch, each into rows of
halfwords, padding included:

      two pixels of x, a word each             scratch, int16, a row for each channel
      a: a0 a1 a2 a3                           c0 |  z a0 | b0 .. |       z: the padding's zero point
      b: b0 b1 b2 b3     SXTB16, PKH           c1 |  z a1 | b1 .. |
                         ------------->        c2 |  z a2 | b2 .. |
                                               c3 |  z a3 | b3 .. |

There any two taps of one row are one word, the weights of one channel stay in registers for all of its outputs, and
padding costs nothing. With stride 1 two neighbouring outputs share their words p q (x0 x1) (x2 x3), and with three taps
also the weights: (w0 w1) as they are for the first output, (w1 w2) for the second, and a half of each for the rest.

      y0 += p.x0 * w0 + p.x1 * w1 + q.x2 * w2         SMLAD(p, w01)  SMLABT(q, w12)
      y1 += p.x1 * w0 + q.x2 * w1 + q.x3 * w2         SMLATB(p, w01) SMLAD(q, w12)

In flash both pairs of bytes are one word (w0 w1 w1 w2), out of which one SXTB16 takes (w0 w1) and another, of the word
rotated by a byte, (w1 w2). "Along" is the axis of the pairs and "across" the other one: width and height, or the
other way round for a kernel that is higher than wide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from bevel.backends.cortex_m.dsp.depthwise_taps import (
    Axis,
    PaddedImage,
    pair_of,
    row_of_products,
    side_by_side,
    widened,
)
from bevel.backends.cortex_m.dsp.dsp import (
    HEADER,
    LANES,
    LEAST_SHIFT,
    needed_raise,
    requantized,
    without_dead,
)
from bevel.backends.encodings.depthwise import largest_accumulators, packed_pairs, taps_of_pairs, unpacked_pairs
from bevel.backends.program.kernel import Kernel, Special
from bevel.backends.program.op import Array, Op, Operand, Role, constant, scratch
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.program import Call
from bevel.backends.program.rates import Rates
from bevel.backends.target import Target
from bevel.backends.tir.lazy import T
from bevel.calib.arithmetic.requantize import Output

SCRATCH_BYTES = 6144  # aimed at; a strip of one output row is the least there is
# Outputs that a loop's body makes, an even number: their sums, the weights and the pixels fill the registers.
TILE = 4


@dataclass(frozen=True)
class DepthwiseDsp(Kernel):
    """The operands and results of `plain`, whose constants are packed: w: int32 [blocks, lanes, taps across, words];
    bias, multiplier: int32 [blocks, lanes]; shift: int8 [blocks, lanes], with `raised` added and 33 taken away.

    A block is four channels (fewer where there are no four); the last one overlaps the one before it where their
    number is no multiple. Accumulators are shifted left by `raised` before they are rescaled. `strip` output rows are
    unfolded at a time; `tile` is how many outputs a loop's body makes: with stride 1 an even number, or all of them.
    """

    rates: ClassVar[Rates] = Rates(mac=2.23, byte=2.9, call=910, code=960)

    plain: Conv
    raised: int
    strip: int
    tile: int

    @property
    def header(self) -> str:
        return HEADER

    @property
    def op(self) -> Op:
        return self.plain

    @cached_property
    def axes(self) -> tuple[Axis, Axis]:
        """(across, along)."""
        p, (rows, columns) = self.plain, self.plain.positions
        down = Axis(p.height, p.width, p.kernel[0], p.strides[0], p.dilations[0], p.pads[0], rows, columns)
        right = Axis(p.width, 1, p.kernel[1], p.strides[1], p.dilations[1], p.pads[1], columns, 1)
        return (right, down) if pairs_run_down(p) else (down, right)

    def variants(self) -> Iterable[DepthwiseDsp]:
        """Other numbers of outputs in a loop's body."""
        return (replace(self, tile=tile) for tile in (2, 4, 6, 8) if tile <= self.axes[1].outputs)

    @property
    def lanes(self) -> int:
        return min(LANES, self.plain.channels_in)

    @property
    def blocks(self) -> int:
        return -(-self.plain.channels_in // self.lanes)

    @property
    def pairs(self) -> int:
        """Pairs of weights for one channel's taps along."""
        return len(taps_of_pairs(self.axes[1].taps, self.axes[1].stride))

    @property
    def unfolded(self) -> tuple[int, int]:
        """The rows and words a row that a strip reads of each channel."""
        across, along = self.axes
        rows = (self.strip - 1) * across.stride + (across.taps - 1) * across.dilation + 1
        last = along.outputs - 1
        reach = last // 2 + along.taps // 2 if along.stride == 1 else last * along.stride // 2 + (along.taps - 1) // 2
        return rows, reach + 1

    def operands(self) -> tuple[Operand, ...]:
        lead, (rows, words) = (self.blocks, self.lanes), self.unfolded
        return (
            *self.plain.roles(Role.INPUT),
            constant("w", (*lead, self.axes[0].taps, self.pairs // 2), "int32"),
            constant("bias", lead, "int32"),
            constant("multiplier", lead, "int32"),
            constant("shift", lead, "int8"),
            *self.plain.roles(Role.OUTPUT),
            scratch("pixels", (rows, self.lanes, words), "int32"),
        )

    def reference(self, *arrays: Array) -> Array:
        x, w, bias, multiplier, shift = arrays
        chosen = np.unique(self.channels.ravel(), return_index=True)[1]
        words, bias, multiplier, kept = (a.reshape(-1, *a.shape[2:])[chosen] for a in (w, bias, multiplier, shift))
        oriented = unpacked_pairs(words, self.axes[1].taps, self.axes[1].stride)
        w = (oriented.swapaxes(1, 2) if pairs_run_down(self.plain) else oriented)[..., np.newaxis]
        return self.plain.reference(x, w, bias, multiplier, (kept + (LEAST_SHIFT - self.raised)).astype(np.int8))

    @cached_property
    def channels(self) -> Array:
        """The channel of each block and lane, [blocks, lanes]."""
        starts = np.minimum(np.arange(self.blocks) * self.lanes, self.plain.channels_in - self.lanes)
        result: Array = starts[:, np.newaxis] + np.arange(self.lanes)
        return result

    def build(self, name: str) -> Any:
        (x,), (y,) = self.plain.roles(Role.INPUT), self.plain.roles(Role.OUTPUT)
        (w, bias, *_), (pixels,) = self.roles(Role.CONSTANT), self.roles(Role.SCRATCH)
        convolve = self.convolution()

        @T.prim_func(s_tir=True)
        def depthwise(
            X: T.Buffer((x.size,), "int8"),
            W: T.Buffer(w.shape, "int32"),
            B: T.Buffer((bias.size,), "int32"),
            M: T.Buffer((bias.size,), "int32"),
            S: T.Buffer((bias.size,), "int8"),
            Y: T.Buffer((y.size,), "int8"),
            P: T.Buffer((pixels.size,), "int32"),
        ):
            T.func_attr({"global_symbol": name, "tirx.noalias": True})
            convolve(X, W, B, M, S, Y, P)

        return depthwise

    def convolution(self, least: int = 0) -> Any:
        """A TIR macro (X, W, B, M, S, Y, P): the whole call. `least` is added to each weight of W."""
        p, (across, along), (rows, words) = self.plain, self.axes, self.unfolded
        image, image_out, channels = p.height * p.width, across.outputs * along.outputs, p.channels_in
        batch, blocks, lanes, pairs, strip, tile = p.batch, self.blocks, self.lanes, self.pairs, self.strip, self.tile
        taps, strips, (tiles, rest) = across.taps, -(-across.outputs // strip), divmod(along.outputs, tile)
        row_words, weights, unfold_row, outputs = lanes * words, across.taps * pairs, self._unfolding(), self._outputs()
        step, hop = along.output_step * channels, tile * along.stride // 2

        @T.macro
        def convolve(X, W, B, M, S, Y, P):
            for n, s, block in T.grid(batch, strips, blocks):
                first = T.meta_var(at_most(block * lanes, channels - lanes))
                top = T.meta_var(at_most(s * strip, across.outputs - strip))
                for r in T.serial(rows):
                    row = T.meta_var(top * across.stride - across.before + r)
                    unfold_row(X, P, r * row_words, row, (n * image + row * across.step) * channels + first)
                for u in T.serial(lanes):
                    q = T.meta_var(block * lanes + u)
                    K = T.alloc_buffer((weights,), "int32")
                    for i in T.unroll(taps):
                        for j in T.unroll(pairs // 2):
                            K[i * pairs + 2 * j] = widened("", W[block, u, i, j], least)
                            K[i * pairs + 2 * j + 1] = widened("_odd", W[block, u, i, j], least)
                    for y in T.serial(strip):
                        source = T.meta_var(y * across.stride * row_words + u * words)
                        target = T.meta_var((n * image_out + (top + y) * across.output_step) * channels + first + u)
                        for x in T.serial(tiles):
                            outputs(X, P, K, B, M, S, Y, q, source + x * hop, target + x * (tile * step), tile)
                        if rest > 0:
                            outputs(X, P, K, B, M, S, Y, q, source + tiles * hop, target + tiles * tile * step, rest)

        return convolve

    def _unfolding(self) -> Any:
        """A TIR macro (X, P, target, row, source): a row of the image into all lanes' rows of scratch."""
        (across, along), lanes, words = self.axes, self.lanes, self.unfolded[1]
        pixels = PaddedImage(along, self.plain.channels_in, lanes, self.plain.x_zero_point)
        (head, inner, tail), outside = inside_words(along, words), pair_of(pixels.zero_point)

        @T.macro
        def unfold(X, P, target, source, f, guarded):
            """One word of each channel: pixels 2 f - before and the one behind it."""
            column = T.meta_var(2 * f - along.before)
            for u in T.unroll(lanes):
                P[target + u * words + f] = side_by_side(X, source, column, u, pixels, guarded)

        @T.macro
        def unfold_row(X, P, target, row, source):
            if T.And(row >= 0, row < across.size):
                for f in T.serial(head):
                    unfold(X, P, target, source, f, True)
                for f in T.serial(inner):
                    unfold(X, P, target, source, f + head, False)
                for f in T.serial(tail):
                    unfold(X, P, target, source, f + head + inner, True)
            else:
                for f in T.serial(lanes * words):
                    P[target + f] = outside

        return unfold_row

    def _outputs(self) -> Any:
        """A TIR macro (X, P, K, B, M, S, Y, q, source, target, count): `count` neighbouring outputs of one channel,
        from word `source` of scratch on."""
        (across, along), row_words, pairs = self.axes, self.lanes * self.unfolded[1], self.pairs
        add_row, step = row_of_products(along), along.output_step * self.plain.channels_in
        raised, output = self.raised, self.plain.output

        @T.macro
        def outputs(X, P, K, B, M, S, Y, q, source, target, count):
            A = T.alloc_buffer((count,), "int32")
            for t in T.unroll(count):
                A[t] = B[q]
            for i in T.unroll(across.taps):
                add_row(A, P, source + i * across.dilation * row_words, K, i * pairs, count)
            for t in T.unroll(count):
                Y[target + t * step] = requantized(A[t], M[q], T.cast(S[q], "int32"), raised, output)

        return outputs

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, *constants = self.plain.example(rng)
        return x, *packed(self, tuple(constants))


def pairs_run_down(plain: Conv) -> bool:
    """Whether the axis of the pairs is the height, because the kernel has more taps there."""
    return plain.kernel[0] > plain.kernel[1]


def inside_words(along: Axis, words: int) -> tuple[int, int, int]:
    """How many of a scratch row's words begin outside the image, lie inside with both pixels, and come after."""
    head = min(words, -(-along.before // 2))
    inside = max(0, min(words, (along.size + along.before) // 2) - head)
    return head, inside, words - head - inside


def at_most(value: Any, most: int) -> Any:
    """The last strip or block ends where the image does, and so overlaps the one before."""
    return T.min(value, most)


def packed(kernel: DepthwiseDsp, constants: tuple[Array, ...]) -> tuple[Array, ...]:
    """The constants of `kernel.plain` as `kernel` takes them."""
    w, bias, multiplier, shift = constants
    chosen = kernel.channels
    oriented = w[..., 0].swapaxes(1, 2) if pairs_run_down(kernel.plain) else w[..., 0]
    if not kernel.plain.output.power:
        multiplier, shift = without_dead(largest_accumulators(w, bias), multiplier, shift)
    kept = (shift.astype(np.int32) + (kernel.raised - LEAST_SHIFT)).astype(np.int8)
    words = packed_pairs(oriented, kernel.axes[1].stride)
    return words[chosen], bias[chosen], multiplier[chosen], kept[chosen]


def specialize(call: Call, target: Target) -> Special | str:
    """Depthwise convolutions whose taps lie side by side along one axis, on targets with the DSP extension."""
    plain = call.kernel
    if "dsp" not in target.abilities:
        return f"{target.name} has no DSP extension"
    if not isinstance(plain, Conv) or not plain.channels_in == plain.channels_out == plain.groups:
        return "not a depthwise convolution"
    axis = 0 if pairs_run_down(plain) else 1
    if plain.dilations[axis] != 1 or (plain.strides[axis] != 1 and plain.strides[axis] % 2):
        return "the taps of neighbouring outputs do not make words"
    w, bias, multiplier, shift = call.constants
    raised = needed_raise(largest_accumulators(w, bias), multiplier, shift)
    if isinstance(raised, str):
        return raised
    kernel = fitted(plain, raised)
    return Special(kernel, packed(kernel, call.constants))


def fitted(plain: Conv, raised: int) -> DepthwiseDsp:
    """The kernel for `plain` with as many rows a strip as its scratch has room for."""
    one = DepthwiseDsp(plain, raised, strip=1, tile=1)
    across, along = one.axes
    span, words = one.unfolded
    room = SCRATCH_BYTES // (4 * words * one.lanes)
    most = max(1, min(across.outputs, (room - span) // across.stride + 1))
    strips = -(-across.outputs // most)
    return replace(one, strip=-(-across.outputs // strips), tile=along.outputs if along.outputs <= TILE + 1 else TILE)


def cases() -> Iterable[DepthwiseDsp]:
    """The plain kernel's own depthwise cases that qualify, and both ways to pair, strips and blocks that overlap."""

    def depthwise(size: tuple[int, int], channels: int, taps: tuple[int, int], **changes: Any) -> DepthwiseDsp:
        more: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "x_zero_point": -128}
        more |= {"output": Output(zero_point=-128), "batch": 1} | changes
        strip, tile = more.pop("strip", None), more.pop("tile", None)
        plain = Conv(
            height=size[0], width=size[1], channels_in=channels, channels_out=channels, kernel=taps, groups=channels,
            **more,
        )  # fmt: skip
        kernel = fitted(plain, raised=3)
        return replace(kernel, strip=strip or kernel.strip, tile=tile or kernel.tile)

    around, after = (1, 1, 1, 1), (0, 0, 1, 1)
    yield depthwise((6, 8), 8, (3, 3), pads=around)
    yield depthwise((7, 5), 7, (3, 3), pads=around, strip=3, x_zero_point=127, output=Output(127))
    yield depthwise((8, 9), 6, (3, 3), pads=around, tile=4, batch=2, x_zero_point=5, output=Output(-9, -100, 90))
    yield depthwise((8, 8), 4, (3, 3), strides=(2, 2), pads=after)
    yield depthwise((12, 12), 4, (3, 3), strides=(2, 2), pads=after, x_zero_point=-8, output=Output(-8, -8, 7))
    yield depthwise((9, 7), 5, (3, 3), strides=(2, 2), pads=around, strip=2, tile=2, output=Output(3))
    yield depthwise((3, 3), 16, (3, 3), pads=around)
    yield depthwise((28, 1), 12, (5, 1), output=Output(-2))
    yield depthwise((9, 9), 8, (3, 3), pads=around, x_zero_point=5, output=Output(-2, -90, 90, even=True))
    yield depthwise((9, 9), 8, (3, 3), pads=around, x_zero_point=5, output=Output(-2, -90, 90, even=True, power=True))
    yield depthwise((1, 24), 5, (1, 10), pads=(0, 4, 0, 5), x_zero_point=-1)
    yield depthwise((15, 1), 4, (15, 1))
    yield depthwise((12, 6), 4, (10, 4), strides=(2, 2), pads=(4, 1, 5, 1))
    yield depthwise((6, 7), 3, (4, 2), pads=(2, 0, 1, 1))
    yield depthwise((5, 6), 1, (2, 4), dilations=(2, 1), pads=(3, 3, 3, 3))
    yield depthwise((4, 5), 9, (1, 1), strides=(3, 1))
    yield depthwise((9, 11), 2, (5, 5), strides=(1, 4), pads=(2, 2, 2, 2), x_zero_point=0)
