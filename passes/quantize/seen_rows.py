"""Rows of a product: what it reads in the quantized model, and what it is to make of that by the float one.

Of all samples together `ROWS` rows are taken, at least `ROWS_EACH` for each number in one, chosen at random for each
sample. Chunks of samples are summed apart and added in their order, whichever thread was first.

Rows may count by how much is made of them. Tokens of attention are rows; a token counts by the shares that all others
give it, summed over heads and queries:

    r = 1/3 + 2/3 (a - least a) / (greatest a - least a),     a: what a token is given, at most their 99th percentile

all divided by their mean. Source: Sung et al. 2025, "RSQ: Learning from Important Tokens Leads to Better Quantized
LLMs", its attention concentration, of its ranges that of 1 to 3; the percentile is against the one token that
takes what nobody needs. From 1/100 on, a decoder and a transformer of images lost by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from bevel.calib.observe.moments import Moments
from bevel.calib.observe.rows import Rows
from bevel.calib.observe.staged import StagedModel
from bevel.calib.rounding.base import KeptRows
from bevel.passes.quantize.round_weights import ProductWeights

ROWS = 2**14  # of all samples together, chosen at random
ROWS_EACH = 12
TOGETHER = 4096  # rows that are held at a time
BYTES = 2**22  # of a tensor whose rows are read at a time
LEAST, LOUDEST = 1 / 3, 99.0  # what the least token counts, and the percentile beyond which tokens count alike

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Walked:
    """One product in both models: what it reads in the quantized one, makes in the float one, and its constants in the
    quantized one. added: what is added to it in the float model and in the quantized one, where it can make up for
    that; counts: how often each row of a run counts, [runs, rows]."""

    weights: ProductWeights
    rows: Rows
    x: str
    y: str
    values: str
    bias: str | None
    adds_bias: bool  # whether y has the bias in it
    added: tuple[str, str] | None = None
    counts: Floats | None = None


@dataclass(frozen=True, eq=False)
class RowsOfProduct:
    """plain, rough: the float model and the quantized one, which have run as far as the product."""

    plain: StagedModel
    rough: StagedModel
    product: Walked

    def moments(self, runs: Sequence[int], pool: ThreadPoolExecutor) -> Moments:
        """Of some rows of `runs`, one at least."""
        inputs = self.product.rows.matrices(self.product.weights.values).shape[1]
        each = self.each(runs, -(-max(ROWS, ROWS_EACH * inputs) // self.plain.runs))
        step = max(1, TOGETHER // max(each, 1))
        chunks = [runs[begin : begin + step] for begin in range(0, len(runs), step)]
        return reduce(add, pool.map(lambda chunk: self.moments_of(chunk, each), chunks))

    def kept(self, runs: Sequence[int], count: int) -> KeptRows | None:
        """At most `count` rows of `runs` as they are, as many of each run as of others; None of none."""
        if not count:
            return None
        every = runs[:: -(-len(runs) // count)]
        x, y, _ = self.read(every, self.each(runs, count // len(every)))
        return KeptRows(x, y)

    def each(self, runs: Sequence[int], most: int) -> int:
        return min(self.product.rows.count(self.plain.shape(self.product.y)), most)

    def moments_of(self, runs: Sequence[int], each: int) -> Moments:
        return Moments.of(*self.read(runs, each))

    def read(self, runs: Sequence[int], each: int) -> tuple[Floats, Floats, Floats | None]:
        """The same `each` rows of both models for each run, [groups, rows, k] and [groups, rows, out], and how often
        each of them counts, [rows]."""
        one, read, made, counts = self.product, list[Floats](), list[Floats](), list[Floats]()
        for part in read_together(runs, max(self.plain.size(one.y), self.rough.size(one.x))):
            y = joined([self.plain.read(one.y, run) for run in part])
            total = one.rows.count(y.shape) // len(part)
            picks = [picked(total, each, run) for run in part]
            places = np.concatenate([picks[place] + total * place for place in range(len(part))])
            read.append(one.rows.read(joined([self.rough.read(one.x, run) for run in part]), places))
            made.append(one.rows.made(y if one.added is None else y + self.lost(one.added, part, y.shape), places))
            if one.counts is not None:
                counts += [one.counts[run][rows] for run, rows in zip(part, picks, strict=True)]
        x, y = (np.concatenate(rows, axis=1) for rows in (read, made))
        if one.adds_bias:
            assert one.weights.bias is not None
            y = y - one.weights.bias.values.astype(np.float32).reshape(y.shape[0], 1, -1)
        return x, y, np.concatenate(counts) if counts else None

    def lost(self, added: tuple[str, str], runs: Sequence[int], shape: tuple[int, ...]) -> Floats:
        """What quantization took from what is added."""
        names = zip((self.plain, self.rough), added, strict=True)
        true, found = (joined([model.read(name, run) for run in runs]) for model, name in names)
        return (true - found).reshape(shape)


def importance(shares: Floats) -> Floats:
    """How often each token counts, 1 in the mean: [tokens]. shares: [..., queries, tokens] of one run."""
    given = shares.sum(axis=tuple(range(shares.ndim - 1)), dtype=np.float64)
    given = np.minimum(given, np.percentile(given, LOUDEST))
    reach = given.max() - given.min()
    if not reach > 0:
        return np.ones(len(given), np.float32)
    counts = LEAST + (1 - LEAST) * (given - given.min()) / reach
    found: Floats = (counts / counts.mean()).astype(np.float32)
    return found


def read_together(runs: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Runs whose tensors of `size` bytes fit into `BYTES`, or one."""
    count = max(BYTES // max(size, 1), 1)
    return (runs[begin : begin + count] for begin in range(0, len(runs), count))


def joined(arrays: Sequence[Floats]) -> Floats:
    """Rows of several runs, one behind the other."""
    return np.concatenate(arrays) if arrays[0].ndim > 1 else np.stack(arrays)


@lru_cache(4096)  # products have few kinds of results
def picked(total: int, count: int, run: int) -> NDArray[np.int64]:
    """Places of `count` rows of `total`, of the run's own."""
    if count == total:
        return np.arange(total)
    return np.sort(np.random.default_rng(run).choice(total, count, replace=False))
