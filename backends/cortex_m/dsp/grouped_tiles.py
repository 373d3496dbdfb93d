"""Tiles over some of the output channels: those of the few blocks that fit a scratch buffer at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bevel.backends.cortex_m.dsp.tiles import Tiles, call
from bevel.backends.encodings import packing
from bevel.backends.tir import arithmetic as tir
from bevel.backends.tir.lazy import T


@dataclass(frozen=True)
class GroupedTiles(Tiles):
    """`Tiles` of which up to `group` blocks lie in W. Its macros take the number of the first one, `lead`."""

    group: int

    def macro(self, lanes: int) -> Any:
        """A TIR macro (A, at, W, M, S, Y, place, lead): as `Tiles.macro`, Y[place] being that pixel's channel 0."""
        return self._group_apart(lanes) if self.apart else self._group_inside(lanes)

    @property
    def blocks(self) -> int:
        return packing.blocks(self.channels)

    def count(self, lead: Any) -> Any:
        """How many blocks the group has that begins with block `lead`."""
        return self.group if self.blocks % self.group == 0 else T.min(self.group, self.blocks - lead)

    def _group_inside(self, lanes: int) -> Any:
        tile, channels, group, low, high = f"{lanes}x4", self.channels, self.group, self.output.low, self.output.high
        (full, rest), clamped, count = divmod(channels, packing.CHANNELS), self.clamped, self.count

        def places(buffer: Any, start: Any) -> list[Any]:
            return [T.address_of(buffer[start + lane * channels]) for lane in range(lanes)]

        @T.macro
        def whole(A, at, W, Y, block, start):
            T.evaluate(call("outputs_" + tile, T.address_of(A[at]), T.address_of(W[block, 0]), *places(Y, start)))

        @T.macro
        def outputs(A, at, W, M, S, Y, place, lead):
            for block in T.serial(count(lead)):
                if rest > 0:
                    if lead + block < full:
                        whole(A, at, W, Y, block, place + (lead + block) * 4)
                    else:
                        T.evaluate(
                            call(
                                "rest_" + tile,
                                T.address_of(A[at]),
                                T.address_of(W[block, 0]),
                                *places(Y, place + full * 4),
                                rest,
                            )
                        )
                else:
                    whole(A, at, W, Y, block, place + (lead + block) * 4)
            if clamped:
                for lane in T.serial(lanes):
                    T.evaluate(
                        call(
                            "clamp",
                            T.address_of(Y[place + lane * channels + lead * 4]),
                            T.min(group * 4, channels - lead * 4),
                            low,
                            high,
                        )
                    )

        return outputs

    def _group_apart(self, lanes: int) -> Any:
        name, channels, output, sums = f"sums_{lanes}x4", self.channels, self.output, self.widened
        count = self.count

        def places(buffer: Any) -> list[Any]:
            return [T.address_of(buffer[sums + lane * 4]) for lane in range(lanes)]

        @T.macro
        def outputs(A, at, W, M, S, Y, place, lead):
            for block in T.serial(count(lead)):
                T.evaluate(call(name, T.address_of(A[at]), T.address_of(W[block, 0]), *places(A)))
                for u in T.serial(T.min(4, channels - (lead + block) * 4)):
                    for lane in T.unroll(lanes):
                        channel = T.meta_var((lead + block) * 4 + u)
                        Y[place + lane * channels + channel] = tir.requantize(
                            A[sums + lane * 4 + u], M[channel], S[channel], output
                        )

        return outputs
