"""The loops of `CodedConv`: `bevel.backends.program.ops.coded_conv`."""

from __future__ import annotations

from typing import Any

from bevel.backends.encodings import coded
from bevel.backends.encodings.coded import CODES, Coding
from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.tir.codes import integers_of
from bevel.backends.tir.lazy import T, tirx
from bevel.backends.tir.windows import WeightLayout, WindowSums, pixels


def sums_of(op: CodedConv) -> WindowSums:
    """Products are taken of 64 bits only where 32 do not hold them."""
    wide_factors = "int32" in (op.x_dtype, op.coding.dtype)
    return WindowSums("int64", "int64" if wide_factors else "int32") if op.wide else WindowSums(small=op.small)


def build(op: CodedConv, name: str) -> Any:
    """Of every operand there may be, the function takes those that this kernel has."""
    operands = {operand.name: operand for operand in op.operands()}
    x, packed, bias, y = (operands[key] for key in ("x", "packed", "bias", "y"))
    channels, dtype, bits = op.plain.channels_out, op.coding.dtype, op.coding.bits
    entries, blocks, decoded = op.coding.block_entries, op.blocks if op.coding.block else 0, op.codes + CODES
    total_blocks = op.passes * blocks
    body = direct(op) if op.direct else passes(op)

    @T.prim_func(s_tir=True)
    def conv(
        X: T.Buffer(x.shape, x.dtype),
        W: T.Buffer((packed.size,), "uint8"),
        table: T.Buffer((2**bits,), dtype),
        block_codes: T.Buffer((total_blocks,), "uint8"),
        block_table: T.Buffer((entries,), dtype),
        B: T.Buffer((channels,), bias.dtype),
        M: T.Buffer((channels,), "int32"),
        S: T.Buffer((channels,), "int8"),
        Y: T.Buffer(y.shape, y.dtype),
        P: T.Buffer((decoded,), dtype),
    ):
        T.func_attr({"global_symbol": name, "tirx.noalias": True})
        body(X, W, table, block_codes, block_table, B, M, S, Y, P)

    order = ("x", "packed", "table", "block_codes", "block_table", "bias", "multiplier", "shift", "y", "weights")
    return keeping(conv, [operand in operands for operand in order])


def passes(op: CodedConv) -> Any:
    """A TIR macro: for each pass, decode its weights, then compute its channels of all pixels."""
    count, decode, scale = op.passes, decoder(op.coding, op.codes), scaler(op)
    rows, taps = op.rows, op.plain.taps
    inputs = op.plain.channels_in // op.plain.groups
    weights = WeightLayout(rows, 1, rows) if op.depthwise else WeightLayout(rows, taps, inputs)
    every_pixel = pixels(op.plain, weights, op.tile, sums_of(op))

    @T.macro
    def body(X, W, table, block_codes, block_table, B, M, S, Y, P):
        for step in T.serial(count):
            decode(W, table, P, step)
            scale(block_codes, block_table, P, step)
            every_pixel(X, P, B, M, S, Y, step * rows)

    return body


def scaler(op: CodedConv) -> Any:
    """The integers of each block times its factor."""
    coding, window = op.coding, op.plain.kernel[0] * op.plain.kernel[1]
    depth, rows, blocks = op.plain.taps // window, op.rows * window, op.blocks if op.coding.block else 0
    whole, rest = divmod(depth, coding.block) if coding.block else (0, 0)
    of_row = whole + (rest > 0)

    @T.macro
    def one(block_codes, block_table, P, step, row, number, count):
        for c in T.serial(count):
            place = T.meta_var(row * depth + number * coding.block + c)
            code = T.meta_var(T.cast(block_codes[step * blocks + row * of_row + number], "int32"))
            P[place] = scaled(coding, P[place], block_table, code)

    @T.macro
    def scale(block_codes, block_table, P, step):
        if coding.block > 0:
            for row in T.serial(rows):
                for number in T.serial(whole):
                    one(block_codes, block_table, P, step, row, number, coding.block)
                if rest > 0:
                    one(block_codes, block_table, P, step, row, whole, rest)

    return scale


def scaled(coding: Coding, element: Any, block_table: Any, code: Any) -> Any:
    """An element in the scale of its block."""
    if not coding.zeros:
        return element * block_table[code]
    centred = T.cast(element, "int32") - T.cast(block_table[coding.factors + code], "int32")
    return T.cast(centred * T.cast(block_table[code], "int32"), coding.dtype)


def direct(op: CodedConv) -> Any:
    """A TIR macro: a matrix times one vector, eight codes and products at a time."""
    p, coding, bits, sums, lanes = op.plain, op.coding, op.coding.bits, sums_of(op), op.lanes
    groups = p.taps // (CODES * lanes)

    @T.macro
    def body(X, W, table, block_codes, block_table, B, M, S, Y, P):
        for channel in T.serial(p.channels_out):
            A = T.alloc_buffer((1,), sums.accumulator)
            A[0] = B[channel]
            for group in T.serial(groups):
                for lane in T.serial(lanes):
                    first = T.meta_var((channel * groups + group) * bits * lanes + lane)
                    integers = T.meta_var(integers_of(coding, W, first, lanes, table))
                    A[0] = added(op, A[0], X, group * CODES * lanes + lane, integers)
            Y[0, 0, 0, channel] = sums.requantize(A[0], M[channel], S[channel], p.output)

    return body


def added(op: CodedConv, total: Any, X: Any, first: Any, weights: list[Any]) -> Any:
    for k, weight in enumerate(weights):
        total = total + sums_of(op).product(X[0, 0, 0, first + k * op.lanes], weight)
    return total


def decoder(coding: Coding, count: int) -> Any:
    """A TIR macro (W, table, P, step): the `count` codes of a pass, from flash to scratch."""
    bits, lanes = coding.bits, coded.lanes_of(count)
    groups = -(-count // (CODES * lanes))

    @T.macro
    def decode(W, table, P, step):
        for group in T.serial(groups):
            for lane in T.serial(lanes):
                first = T.meta_var((step * groups + group) * bits * lanes + lane)
                integers = T.meta_var(integers_of(coding, W, first, lanes, table))
                store_all(P, group * CODES * lanes + lane, lanes, integers, coding.dtype)

    return decode


def store_all(target: Any, first: Any, step: int, values: list[Any], dtype: str) -> None:
    """Statements of a TIR macro: `values` into `target`, `step` elements apart."""
    for k, value in enumerate(values):
        T.buffer_store(target, T.cast(value, dtype), [first + k * step])


def keeping(function: Any, kept: list[bool]) -> Any:
    """`function` with those of its parameters, which its body alone uses."""
    params = [parameter for parameter, keep in zip(function.params, kept, strict=True) if keep]
    return tirx.PrimFunc(params, function.body, function.ret_type, function.attrs)
