"""A low-rank branch beside each product: what rounding its weights loses most audibly is computed apart, at 8 bits.

    x W = x (W - A B) + (x A) B        A [in, rank], B [rank, out]

A B is what a few directions of the input hear of the rounding error of W - A B. With C = E[x^T x], the error of the
output is |C^(1/2) E|^2, so the best branch is the truncated singular value decomposition of C^(1/2) E, taken back
through C^(-1/2) (whitening). E and the branch depend on each other: both are found in turns, and the best turn is kept.
Sources: Li et al. 2025, "SVDQuant: Absorbing Outliers by Low-Rank Components for 4-Bit Diffusion Models" (a branch
beside rounded weights, refitted to what they lose); Zhang et al. 2024, "LQER: Low-Rank Quantization Error
Reconstruction for LLMs" (the error's decomposition, scaled by activations). With C = 1, and one turn, it is that of the
weights' own error (LoRC): Yao et al. 2023, "ZeroQuant-V2: Exploring Post-training Quantization in LLMs from
Comprehensive Study to Low Rank Compensation", section 5.

Price: rank (in + out) multiplications and weights of 8 bits a product more, and a sum. `auto` does not try it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs
from bevel.calib.errors import UserError
from bevel.calib.formats.format import INT8
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant, variable
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.transform.noise import rounded_rows
from bevel.passes.transform.orthogonal import Matrix
from bevel.passes.transform.seen import see
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.transform import Changed, Transform

TURNS = 8
DAMPING = 0.01  # of the mean power of inputs, added to all directions: few samples know little of quiet ones
SMALLEST = 4  # ranks that must fit into both sides of the weights


@dataclass(frozen=True, eq=False)
class LowRankBranch:
    """first: [in, rank]; second: [rank, out]; gain: of the output's error by rounding weights, predicted in dB."""

    first: Matrix
    second: Matrix
    gain: float


@dataclass(frozen=True)
class BranchLowRank(Transform):
    """rank: of every branch; by: what inputs hold, or as if they held all directions alike; turns: in which the branch
    and what rounding loses beside it are found."""

    name: ClassVar[str] = "branch-low-rank"
    rank: int = 8
    by: Literal["inputs", "weights"] = "inputs"
    turns: int = TURNS

    def __post_init__(self) -> None:
        if min(self.rank, self.turns) < 1:
            raise UserError(f"{self.name}: a branch has a rank and a turn at least, not {self.rank} and {self.turns}")

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        nodes = [node for node in graph.nodes if self.takes(node)]
        arrays = see(graph, [node.inputs[0].name for node in nodes], samples) if nodes else {}
        notes: list[Note] = []
        formats: dict[str, NodeFormat] = {}
        sites = operations = 0
        for node in nodes:
            seen = arrays[node.inputs[0].name]
            power = power_of(seen) if self.by == "inputs" else np.eye(int(node.inputs[1].shape[0]))
            found = branch_of(node, power, self.rank, self.weight_bits, self.turns)
            if found.gain < GAIN:
                continue
            sites += 1
            rows, out = map(int, node.outputs[0].shape)
            operations += rows * (self.rank * sum(node.inputs[1].values.shape) + out)
            formats |= dict.fromkeys(put_branch(graph, node, found), NodeFormat(INT8, INT8))
            text = f"a branch of rank {self.rank}: rounding its weights is predicted to cost {found.gain:.1f} dB less"
            notes.append(self.note(node.name, "changed", text, predicted_db=found.gain, rank=self.rank))
        return (Changed(graph, sites, {}, tuple(notes), formats, operations) if sites else None), []

    def takes(self, node: gs.Node) -> bool:
        """Products by constant weights that are much larger than the branch."""
        weights = node.inputs[1] if node.op == "Gemm" and not node.attrs else None
        return isinstance(weights, gs.Constant) and min(weights.values.shape) >= SMALLEST * self.rank


def power_of(arrays: Sequence[NDArray[Any]]) -> Matrix:
    """E[x^T x] of rows, with a little in all directions."""
    rows = np.concatenate([one.reshape(-1, one.shape[-1]) for one in arrays]).astype(np.float64)
    found: Matrix = rows.T @ rows / len(rows)
    return found + DAMPING * max(float(np.trace(found)) / len(found), 1e-30) * np.eye(len(found))


def branch_of(node: gs.Node, power: Matrix, rank: int, bits: int, turns: int = TURNS) -> LowRankBranch:
    values, vectors = np.linalg.eigh(power)
    root, inverse = ((vectors * values**exponent) @ vectors.T for exponent in (0.5, -0.5))
    weights = np.asarray(node.inputs[1].values, np.float64)
    branch, best, least = np.zeros_like(weights), None, np.inf
    none = error_of(weights, bits, root)
    for _ in range(turns):
        lost = weights - rounded(weights - branch, bits)
        left, sizes, right = np.linalg.svd(root @ lost, full_matrices=False)
        first, second = inverse @ left[:, :rank], sizes[:rank, None] * right[:rank]
        branch = first @ second
        error = error_of(weights - branch, bits, root)
        if error < least:
            best, least = (first, second), error
    assert best is not None, "there is a turn at least"
    return LowRankBranch(*best, decibels(none, least))


def rounded(weights: Matrix, bits: int) -> Matrix:
    found: Matrix = rounded_rows(weights.T[None, :, :, None], bits)[0, :, :, 0].T
    return found


def error_of(weights: Matrix, bits: int, root: Matrix) -> float:
    """Of the output, by rounding the weights."""
    return float(np.square(root @ (weights - rounded(weights, bits))).sum())


def put_branch(graph: gs.Graph, node: gs.Node, branch: LowRankBranch) -> tuple[str, str]:
    """Beside a product; its result is then a sum. Returns the names of the branch's products."""
    x, y, name = node.inputs[0], node.outputs[0], node.name
    rows, out = map(int, y.shape)
    rank = branch.first.shape[1]
    weights = np.asarray(node.inputs[1].values, np.float64) - branch.first @ branch.second
    node.inputs[1] = constant(graph, node.inputs[1].name, weights.astype(np.float32))
    rest = variable(graph, f"{name}/rest", np.float32, (rows, out))
    node.outputs = [rest]
    seen = variable(graph, f"{name}/seen", np.float32, (rows, rank))
    lost = variable(graph, f"{name}/lost", np.float32, (rows, out))
    factors = {"first": (x, branch.first, seen), "second": (seen, branch.second, lost)}
    for part, (source, values, target) in factors.items():
        given = [
            source,
            constant(graph, f"{name}/{part}.weight", values.astype(np.float32)),
            constant(graph, f"{name}/{part}.bias", np.zeros(values.shape[1], np.float32)),
        ]
        graph.nodes.append(gs.Node("Gemm", f"{name}/{part}", {}, given, [target]))
    graph.nodes.append(gs.Node("Add", f"{name}/with_branch", {}, [rest, lost], [y]))
    return f"{name}/first", f"{name}/second"
