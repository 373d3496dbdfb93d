"""Loops of `MatMulNBits` for vectors of 16 outputs: codes become floats in registers, and are multiplied there.

    float = bits(2**23 | code) - (2**23 + zero)          exact, as the floats of [2**23, 2**24) are the integers
    part  = fma (x, float, part)        total = fma (part, scale, total)  behind each group

A tile of rows shares what is decoded; where there are few, blocks of outputs side by side hide how long a fused
multiplication and addition takes. Each output's terms come one after the other, as the operator says. Source of the
conversion: Kim et al. 2022, "Who Says Elephants Can't Run: Bringing Large Scale MoE Models into Cloud Scale
Production", section 4 (integers made floats by their exponent's bits); FasterTransformer and Marlin do it on GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bevel.backends.encodings.planes import LANES, UNIT, blocks_of, planes, units_of
from bevel.backends.program.ops.mat_mul_n_bits import MatMulNBits
from bevel.backends.tir.lazy import T, statements
from bevel.backends.vectors.expressions import intrinsic, shuffled, span

BIT = 2**23  # of the floats that are the integers
EXPONENT = 0x4B000000  # of these, as it lies in a word
FLOATS, WORDS = f"float32x{LANES}", f"int32x{LANES}"


@dataclass(frozen=True)
class NBitsTiles:
    """rows: whose sums registers hold; chains: sums of 16 outputs that hide one another where there are fewer rows."""

    rows: int
    chains: int


def why_not(op: MatMulNBits) -> str | None:
    """Why groups do not lie in units, if they do not."""
    whole = op.groups == 1 or op.group % UNIT == 0 or UNIT % op.group == 0
    return None if whole else f"groups of {op.group} inputs, neither a multiple nor a part of {UNIT}"


def loops(op: MatMulNBits, tiles: NBitsTiles, buffers: tuple[Any, ...]) -> None:
    """TIR of all outputs. Blocks are outside: their codes stay in the cache from one tile of rows to the next."""
    whole = op.n // LANES
    together = max(1, min(whole, tiles.chains // op.rows))

    def blocks(first: Any, count: int, lanes: int = LANES) -> None:
        many, rest = divmod(op.rows, tiles.rows)
        if many:
            with statements.serial(many) as outer:
                NBitsTile(op, buffers, first, count, lanes, tiles.rows).outputs(outer * tiles.rows)
        if rest:
            NBitsTile(op, buffers, first, count, lanes, rest).outputs(many * tiles.rows)

    if whole:
        with statements.serial(whole // together) as outer:
            blocks(outer * together, together)
    if rest := whole % together:
        blocks(whole - rest, rest)
    if blocks_of(op.n) > whole:
        blocks(whole, 1, op.n % LANES)


@dataclass(frozen=True, eq=False)
class NBitsTile:
    """`count` blocks of outputs from `block` on, `lanes` in each, of so many rows. total, part, offset: float32, sums
    of each row and block, those of a group, and what is subtracted from codes of a block."""

    op: MatMulNBits
    buffers: tuple[Any, ...]
    block: Any
    count: int
    lanes: int
    rows: int
    sums: list[Any] = field(default_factory=list)

    def outputs(self, row: Any) -> None:
        """TIR of the rows from `row` on."""
        of_rows = (self.rows * self.count * LANES,)
        self.sums[:] = [
            statements.alloc_buffer(shape, "float32", scope="local")
            for shape in (of_rows, of_rows, (self.count * LANES,))
        ]
        self.clear(0)
        if self.op.groups > 1 and self.op.group < UNIT:
            self.small_groups(row)
        else:
            self.large_groups(row)
        for r in range(self.rows):
            for b in range(self.count):
                self.write(row + r, b, self.sums[0][self.place(r, b)])

    def large_groups(self, row: Any) -> None:
        """TIR of groups of whole units, and of the last one, which may be shorter."""
        op = self.op
        whole = op.k // op.group if op.group % UNIT == 0 else 0
        units = op.group // UNIT
        if whole:
            with statements.serial(whole) as group:
                self.begin(group)
                with statements.serial(units) as unit:
                    self.terms(row, group * units + unit, 0, UNIT)
                self.end(group)
        if rest := op.k - whole * op.group:
            self.begin(whole)
            if rest // UNIT:
                with statements.serial(rest // UNIT) as unit:
                    self.terms(row, whole * units + unit, 0, UNIT)
            self.terms(row, op.k // UNIT, 0, rest % UNIT)
            self.end(whole)

    def small_groups(self, row: Any) -> None:
        """TIR of several groups in each unit."""
        op = self.op
        each = UNIT // op.group

        def groups(unit: Any, inputs: int) -> None:
            for which in range(-(-inputs // op.group)):
                self.begin(unit * each + which)
                self.terms(row, unit, which * op.group, min((which + 1) * op.group, inputs))
                self.end(unit * each + which)

        if op.k // UNIT:
            with statements.serial(op.k // UNIT) as unit:
                groups(unit, UNIT)
        if op.k % UNIT:
            groups(op.k // UNIT, op.k % UNIT)

    def begin(self, group: Any) -> None:
        """TIR in front of a group's terms."""
        self.clear(1)
        for b in range(self.count):
            zero = T.broadcast(T.float32(self.op.zero or 0), LANES)
            if self.op.zero is None:
                zero = T.cast(self.buffers[3][self.of_group(group, b)], FLOATS)
            offset = T.broadcast(T.float32(BIT), LANES) + zero
            statements.buffer_store(self.sums[2], offset, [T.ramp(b * LANES, 1, LANES)])

    def end(self, group: Any) -> None:
        """TIR that adds a group's sums, times its scales."""
        for b in range(self.count):
            scale = self.buffers[2][self.of_group(group, b)]
            for r in range(self.rows):
                at = self.place(r, b)
                self.put(0, at, fma(self.sums[1][at], scale, self.sums[0][at]))

    def terms(self, row: Any, unit: Any, start: int, stop: int) -> None:
        """TIR of the terms of some inputs of a unit."""
        x, k = self.buffers[0], self.op.k
        for step in range(start, stop):
            for b in range(self.count):
                weight = self.weight(unit, step, b)
                for r in range(self.rows):
                    at, value = self.place(r, b), x[(row + r) * k + unit * UNIT + step]
                    self.put(1, at, fma(T.broadcast(value, LANES), weight, self.sums[1][at]))

    def weight(self, unit: Any, step: int, b: int) -> Any:
        """The floats of 16 codes, less their zero."""
        op, found = self.op, T.broadcast(T.int32(EXPONENT), LANES)
        for width, taken, first in planes(op.bits):
            each = UNIT // width
            word = ((self.block + b) * units_of(op.k) + unit) * op.bits + first + step // each
            part = self.buffers[1][T.ramp(word * LANES, 1, LANES)]
            shift = step % each * width - taken
            if shift > 0:
                part = T.shift_right(T.reinterpret(part, dtype=f"uint32x{LANES}"), T.broadcast(T.uint32(shift), LANES))
                part = T.reinterpret(part, dtype=WORDS)
            elif shift < 0:
                part = part << T.broadcast(T.int32(-shift), LANES)
            found = found | (part & T.broadcast(T.int32((2**width - 1) << taken), LANES))
        return T.reinterpret(found, dtype=FLOATS) - self.sums[2][T.ramp(b * LANES, 1, LANES)]

    def write(self, row: Any, b: int, values: Any) -> None:
        """TIR of the outputs of a row in a block, with their bias."""
        op, y, first, done, size = self.op, self.buffers[-1], (self.block + b) * LANES, 0, LANES
        while size:
            if self.lanes - done >= size:
                part = values if size == LANES else shuffled([values], range(done, done + size))
                if op.bias:
                    part = part + self.buffers[-2][span(first + done, size)]
                statements.buffer_store(y, part, [span(row * op.n + first + done, size)])
                done += size
            size //= 2

    def clear(self, which: int) -> None:
        for r in range(self.rows):
            for b in range(self.count):
                self.put(which, self.place(r, b), T.broadcast(T.float32(0), LANES))

    def put(self, which: int, place: Any, value: Any) -> None:
        statements.buffer_store(self.sums[which], value, [place])

    def place(self, r: int, b: int) -> Any:
        return T.ramp((r * self.count + b) * LANES, 1, LANES)

    def of_group(self, group: Any, b: int) -> Any:
        return T.ramp(((self.block + b) * self.op.groups + group) * LANES, 1, LANES)


def fma(a: Any, b: Any, c: Any) -> Any:
    return intrinsic("llvm.fma", a, b, c, dtype=FLOATS)
