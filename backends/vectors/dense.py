"""Convolutions and products by weights whose channels all read the same, and cases of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bevel.backends.program.op import Op
from bevel.backends.program.ops import conv, gemm
from bevel.backends.program.ops.conv import Conv
from bevel.backends.program.ops.gemm import Gemm


def dense_of(op: Op) -> Conv | Gemm | str:
    """`op`, or why no such kernel can stand for it on any machine."""
    if not isinstance(op, Conv | Gemm):
        return "neither a Conv nor a Gemm"
    return f"{op.groups} groups" if isinstance(op, Conv) and op.groups != 1 else op


def plain_cases() -> Iterator[Conv | Gemm]:
    """What the plain kernels have, without groups; then rows of all remainders, channels of whole and partial blocks,
    segments of whole and partial vectors."""
    yield from (one for one in conv.cases() if one.groups == 1 and one.operands()[0].dtype == "int8")
    yield from (one for one in gemm.cases() if one.operands()[0].dtype == "int8")
    base = replace(next(iter(conv.cases())), height=5, width=11, kernel=(3, 3), pads=(1, 1, 1, 1), x_zero_point=-7)
    for channels_in, channels_out, width in ((1, 16, 3), (3, 32, 6), (4, 40, 7), (5, 47, 13), (16, 80, 8), (32, 9, 17)):
        yield replace(base, channels_in=channels_in, channels_out=channels_out, width=width)
    yield replace(base, width=40, channels_in=8, channels_out=16, strides=(2, 2), pads=(0, 0, 1, 1))
    yield replace(base, batch=2, channels_in=24, channels_out=65, kernel=(1, 1), pads=(0, 0, 0, 0))
    yield replace(base, channels_in=6, channels_out=20, dilations=(1, 2), pads=(1, 2, 1, 2))
    yield Gemm(rows=5, k=65, n=129, output=base.output)
