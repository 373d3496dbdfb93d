"""What Conv and Gemm on Helium share: constants packed for vectors (helium.py), and the call of a function of C."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bevel.backends.encodings.helium import (
    LANES,
    TIES,
    example_rescaling,
    needs_lift,
    pack_rescaling,
    pack_weights,
    rescaling_shape,
    scaling,
    unpack_rescaling,
    unpack_weights,
)
from bevel.backends.program.kernel import Kernel
from bevel.backends.program.op import Array, Op, Operand, constant
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm
from bevel.backends.program.program import Call
from bevel.backends.program.shapes import blocks_of
from bevel.backends.tir.lazy import tirx


@dataclass(frozen=True)
class PackedMve(Kernel):
    """`plain` with its weights and rescaling packed by `helium.pack_weights(w, tile)` and `helium.pack_rescaling`."""

    plain: Conv | Gemm
    lifted: bool

    tile: ClassVar[int]  # outputs whose weights are stored together

    @property
    @abstractmethod
    def n(self) -> int:
        """Outputs,"""

    @property
    @abstractmethod
    def k(self) -> int:
        """of so many products each."""

    @property
    @abstractmethod
    def function(self) -> str:
        """Of the header: computes some outputs."""

    @property
    def header(self) -> str:
        return "bevel_mve.h"

    @property
    def further(self) -> tuple[int, ...]:
        """What the function takes after the arguments that it takes for int8 weights."""
        return ()

    @property
    def vectors(self) -> int:
        """In which a block of the weights of a tile is stored."""
        return self.tile

    @property
    def blocks(self) -> int:
        """Vectors along the summed axis."""
        return blocks_of(self.k, LANES)

    @property
    def op(self) -> Op:
        return self.plain

    def packed_operands(self) -> tuple[Operand, ...]:
        """All but scratch."""
        x, *_, y = self.plain.operands()
        w = constant("w", (blocks_of(self.n, self.tile), self.blocks, self.vectors, LANES), "int8")
        return x, w, constant("rescaling", rescaling_shape(self.n, self.lifted, self.tile), "int32"), y

    def called(self, y: Any, x: tuple[Any, ...], w: Any, rescaling: Any, count: Any) -> Any:
        """TIR that calls the function for `count` outputs: the places of results, of activations and of constants."""
        output = self.plain.output
        return tirx.call_extern(
            "int32",
            self.function,
            *y,
            *x,
            tirx.address_of(w[0, 0, 0, 0]),
            rescaling,
            self.blocks,
            count,
            output.zero_point,
            output.low,
            output.high,
            scaling(self.lifted, output),
            *self.further,
        )

    def reference(self, *arrays: Array) -> Array:
        x, packed, rescaling = arrays
        w = unpack_weights(packed, self.n, self.k)
        return self.plain.reference(x, w.reshape(self.plain.operands()[1].shape), *unpack_rescaling(rescaling, self.n))

    def example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        x, w, bias, multiplier, shift = self.plain.example(rng)
        packed = pack_weights(w.reshape(self.n, -1), self.tile)
        return x, packed, example_rescaling(bias, multiplier, shift, self.lifted, self.tile)


def packed_constants(plain: Conv | Gemm, call: Call, tile: int) -> tuple[bool, tuple[Array, ...]] | str:
    """Whether sums are lifted, and the constants of a call of `plain` as a kernel takes them; or why none does."""
    if plain.output.even and not plain.output.power:
        return TIES
    w, bias, multiplier, shift = call.constants
    flat = w.reshape(len(w), -1)
    lifted = needs_lift(flat, bias, shift)
    if isinstance(lifted, str):
        return lifted
    return lifted, (pack_weights(flat, tile), pack_rescaling(bias, multiplier, shift, lifted, tile))
