"""The Walsh-Hadamard transform of integers: sums and differences of a row's elements, by blocks of them.

    y_i = sum over j of s_j x_j H_ji        H = kron(S_k, B) in each block of its diagonal,  s_j = +-1

S_k is Sylvester's matrix of size 2^k, S_(k+1) = [[S_k, S_k], [S_k, -S_k]], and B, the base, a matrix of entries +-1
with B B^T = m I: [[1]], or one of another size (Paley's of 12 and 20). A block has 2^k m elements; over the root of
that it is a rotation. By butterflies it costs k additions an element, and m for the base where m > 1, not 2^k m:
(a, b) -> (a + b, a - b) for all pairs whose places differ in one binary digit, digit by digit (the fast Walsh-Hadamard
transform; Yates 1937, "The Design and Analysis of Factorial Experiments").

The sums are exact: |y_i| <= 2^k m max |x|.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Signs = NDArray[np.int8]
TOLERANCE = 1e-5  # of an entry's size: float32 entries that are c or -c are equal to some 1e-7
MOST_BLOCKS = 16  # a matrix of more is rather a diagonal than a rotation


@dataclass(frozen=True, eq=False)
class HadamardBlock:
    """base: [m, m] of +-1; stages: how many butterflies each element goes through."""

    base: Signs
    stages: int

    @property
    def size(self) -> int:
        return len(self.base) << self.stages

    @property
    def additions(self) -> int:
        m = len(self.base)
        return self.size * (self.stages + (m if m > 1 else 0))

    def matrix(self) -> Signs:
        return np.kron(sylvester(self.stages), self.base).astype(np.int8)


@dataclass(frozen=True, eq=False)
class HadamardForm:
    """signs: [n] of +-1; the blocks are n long together."""

    signs: Signs
    blocks: tuple[HadamardBlock, ...]

    @property
    def additions(self) -> int:
        """Of one row."""
        return sum(one.additions for one in self.blocks)

    def of_blocks(self, values: list[Any]) -> NDArray[Any]:
        """[n]: a number of each block for each of its elements."""
        return np.repeat(values, [one.size for one in self.blocks])

    def matrix(self) -> Signs:
        """[n, n]: y = x @ matrix."""
        found, place = np.zeros((len(self.signs),) * 2, np.int8), 0
        for one in self.blocks:
            found[place : place + one.size, place : place + one.size] = one.matrix()
            place += one.size
        return found * self.signs[:, None]


def sylvester(stages: int) -> Signs:
    """[2**stages, 2**stages]."""
    found = np.ones((1, 1), np.int8)
    for _ in range(stages):
        found = np.block([[found, found], [found, -found]])
    return found


def walsh_hadamard(x: NDArray[Any], form: HadamardForm) -> NDArray[np.int64]:
    """Of integers [..., n], by butterflies, in int64."""
    values = (x.astype(np.int64) * form.signs).reshape(-1, len(form.signs))
    ends = np.cumsum([0, *(one.size for one in form.blocks)])
    parts = [transformed(values[:, a:b], one) for (a, b), one in zip(pairwise(ends), form.blocks, strict=True)]
    return np.concatenate(parts, 1).reshape(x.shape)


def transformed(values: NDArray[np.int64], block: HadamardBlock) -> NDArray[np.int64]:
    """[rows, block.size]"""
    m = len(block.base)
    found = values.reshape(len(values), -1, m) @ block.base.astype(np.int64)
    for stage in range(block.stages):
        pairs = found.reshape(len(values), -1, 2, 1 << stage, m)
        found = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2)
    return found.reshape(values.shape)


# Recognizing one


def factored(matrix: NDArray[Any]) -> tuple[HadamardForm, tuple[float, ...]] | None:
    """The form of a real [n, n] matrix, and the size of the entries of each of its blocks; None of all other matrices.

    Blocks are as small as they can be, and so are their bases. Signs are so chosen that the first column of what they
    multiply is of ones.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not of_one_size(matrix[0]):
        return None
    ends = block_ends(matrix)
    if len(ends) > MOST_BLOCKS:
        return None
    found = [factored_block(matrix[a:b, a:b]) for a, b in pairwise((0, *ends))]
    parts = [one for one in found if one is not None]
    if len(parts) < len(found) or not parts:
        return None
    signs, blocks, sizes = zip(*parts, strict=True)
    return HadamardForm(np.concatenate(signs), blocks), sizes


def of_one_size(row: NDArray[Any]) -> bool:
    """Whether all that is not 0 is c or -c: what sets most matrices apart by their first row."""
    found = np.abs(row[row != 0])
    return bool(len(found)) and np.allclose(found, found[0], rtol=TOLERANCE, atol=0.0)


def block_ends(matrix: NDArray[Any]) -> list[int]:
    """Where blocks of the diagonal end, outside of which all is 0."""
    found, last = [], 0
    rows, columns = np.nonzero(matrix)
    reach = np.maximum.accumulate(np.maximum.reduce([furthest(rows, columns, matrix), furthest(columns, rows, matrix)]))
    for place, far in enumerate(reach.tolist()):
        last = max(last, far)
        if last == place:
            found.append(place + 1)
    return found


def furthest(one: NDArray[np.intp], other: NDArray[np.intp], matrix: NDArray[Any]) -> NDArray[np.intp]:
    """[n]: the last place that each is joined with, itself at least."""
    found = np.arange(len(matrix))
    np.maximum.at(found, one, other)
    return found


def factored_block(matrix: NDArray[Any]) -> tuple[Signs, HadamardBlock, float] | None:
    c = float(np.abs(matrix[0, 0]))
    if c == 0 or not np.allclose(np.abs(matrix), c, rtol=TOLERANCE, atol=0.0):
        return None
    entries = np.where(matrix > 0, 1, -1).astype(np.int8)
    signs = entries[:, 0].copy()
    base, wide = entries * signs[:, None], entries.astype(np.int64)
    if not np.array_equal(wide @ wide.T, len(base) * np.eye(len(base), dtype=np.int64)):
        return None
    stages = 0
    while (half := half_of(base)) is not None:
        base, stages = half, stages + 1
    return signs, HadamardBlock(base, stages), c


def half_of(matrix: Signs) -> Signs | None:
    """B of [[B, B], [B, -B]]; None of other matrices."""
    size = len(matrix) // 2
    if 2 * size != len(matrix) or not size:
        return None
    half = matrix[:size, :size]
    return half if np.array_equal(np.block([[half, half], [half, -half]]), matrix) else None
