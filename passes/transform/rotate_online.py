"""Rotations on the device: a Walsh-Hadamard transform before a product, its inverse in the product's weights.

    x W = (x H / sqrt(n)) (H^T W / sqrt(n))        H of entries +-1, H H^T = n I

What a product reads behind a nonlinearity, a gated product or several heads cannot be turned where it is made, so it is
turned as the model runs, by butterflies of sums and differences. Few loud channels, or few loud elements, are then
spread over all, and fit a few bits. Source: Ashkboos et al. 2024, "QuaRot: Outlier-Free 4-Bit Inference in Rotated
LLMs", section 4, where the product is a transformer's down-projection. Signs are drawn before, so that what all
channels have in common does not gather in one.

Price: k additions for each element of a block of 2^k m, and m more where m > 1 (`walsh_hadamard`), and a tensor more.
The product's input is read in 16 bits where 8 would lose what the rotation gains. A place is turned only if its
products are predicted to gain `GAIN` dB, and `WORK` dB for as many additions as they have multiplications. Products
behind a normalization are left to `rotate-stream`, which costs nothing, where it can turn them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np
import onnx_graphsurgeon as gs

from bevel.calib.arithmetic.walsh_hadamard import HadamardBlock, HadamardForm
from bevel.calib.data.dataset import Runs
from bevel.calib.formats.format import INT8, INT16
from bevel.passes.base import Note
from bevel.passes.graph.edit import constant, producer, variable
from bevel.passes.operators.products.walsh_hadamard import LEAST, find_transform
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.transform.branch_low_rank import rounded
from bevel.passes.transform.noise import rounded_each, rounded_values
from bevel.passes.transform.orthogonal import Matrix, hadamard
from bevel.passes.transform.seen import see
from bevel.passes.transform.smooth import GAIN, decibels
from bevel.passes.transform.stream import NoStreamError, find_streams
from bevel.passes.transform.transform import Changed, Transform, vectors

BASES = (1, 12, 20)  # of a block: larger ones cost more additions than they spread
WORK = 2.0  # dB for as many additions as multiplications: what scales of rows, whose cost is alike, bring here
FINE = 1.1  # times the error that int16 leaves: more, and 8 bits before the rotation are too few


@dataclass(frozen=True, eq=False)
class OnlineSite:
    """x: [rows, n]; readers: the products that read it."""

    x: gs.Tensor
    readers: list[gs.Node] = field(default_factory=list)

    @property
    def n(self) -> int:
        return int(self.x.shape[-1])

    @property
    def weights(self) -> Matrix:
        """[n, out], of all readers."""
        return np.concatenate([np.asarray(node.inputs[1].values, np.float64) for node in self.readers], 1)

    @property
    def multiplications(self) -> int:
        """Of one row."""
        return sum(int(node.inputs[1].values.size) for node in self.readers)


@dataclass(frozen=True, eq=False)
class OnlineRotation:
    """gain: predicted, in dB; wide: whether x must be int16."""

    form: HadamardForm
    gain: float
    wide: bool

    @property
    def matrix(self) -> Matrix:
        return rotation(self.form)


@dataclass(frozen=True)
class RotateOnline(Transform):
    """seed: of the signs; gain: dB that a place must gain by the prediction, beside what its additions ask for."""

    name: ClassVar[str] = "rotate-online"
    seed: int = 0
    gain: float = GAIN

    def changed(self, graph: gs.Graph, samples: Runs) -> tuple[Changed | None, list[Note]]:
        sites = list(find_online(graph))
        forms = [form_of(site.n, self.seed + place) for place, site in enumerate(sites)]
        arrays = see(graph, [site.x.name for site in sites], samples) if sites else {}
        notes, stays, turned = [], [], []
        formats: dict[str, NodeFormat] = {}
        for site, form in zip(sites, forms, strict=True):
            name = site.readers[0].name
            one = self.judged(site, form, vectors(arrays[site.x.name], -1))
            costs = form.additions / site.multiplications
            if one.gain < self.gain + WORK * costs:
                stays.append(self.told(name, "stays", "no rotation before it", one, costs))
                continue
            put(graph, site, one)
            formats |= {maker: NodeFormat(activations=INT16) for maker in makers(site.x) if one.wide}
            turned.append(site)
            notes.append(self.told(name, "changed", "what it reads is rotated on the device", one, costs))
        instead = {site.readers[0].inputs[0].name: site.x.name for site in turned}
        operations = sum(form_of(site.n, 0).additions * int(prod(site.x.shape[:-1])) for site in turned)
        tensors = dict.fromkeys(instead, -1)
        found = Changed(graph, len(turned), tensors, tuple(notes), formats, operations, instead) if turned else None
        return found, stays

    def judged(self, site: OnlineSite, form: HadamardForm, x: Matrix) -> OnlineRotation:
        """x: [vectors, n]."""
        weights = site.weights
        matrix = rotation(form)
        turned = x @ matrix
        bits = (self.weight_bits, self.activation_bits)
        plain = product_error(x, x, weights, bits)
        wide = product_error(turned, turned, matrix.T @ weights, bits)
        fine = product_error(rounded_values(x, INT8.bits) @ matrix, turned, matrix.T @ weights, bits)
        is_wide = fine > FINE * wide
        return OnlineRotation(form, decibels(plain, wide if is_wide else fine), is_wide)

    def told(self, node: str, kind: Any, what: str, found: OnlineRotation, costs: float) -> Note:
        width = " from int16" if found.wide else ""
        text = (
            f"{what}{width}: rounding it is predicted to cost {found.gain:.1f} dB less, for {found.form.additions} "
            f"additions a row, {costs:.2f} of its multiplications"
        )
        numbers = {"predicted_db": found.gain, "additions": float(found.form.additions), "share": costs}
        return self.note(node, kind, text, **numbers)


def product_error(
    given: Matrix, exact: Matrix, weights: Matrix, bits: tuple[int, int], of_each_row: bool = False
) -> float:
    """Of the products of `exact`, where `given` and the weights are rounded: the sum of both errors. bits: of weights
    and activations; of_each_row: whether each row of `given` has a scale of its own."""
    lost = (rounded_each if of_each_row else rounded_values)(given, bits[1]) - exact
    of_inputs, of_weights = lost @ weights, exact @ (rounded(weights, bits[0]) - weights)
    return float(np.square(of_inputs).sum() + np.square(of_weights).sum())


def find_online(graph: gs.Graph) -> Iterator[OnlineSite]:
    """Tensors that products by weights read, which nothing before can turn, in the order of the graph."""
    turnable = {
        id(node)
        for stream in find_streams(graph)
        if not isinstance(stream, NoStreamError)
        for node in (*stream.readers, *(one for norm in stream.norms for one in norm.readers))
    }
    return read_by_products(graph, turnable)


def read_by_products(graph: gs.Graph, without: AbstractSet[int] = frozenset()) -> Iterator[OnlineSite]:
    """Tensors that the model computes and products by weights read, unless they are rotated already, in the order of
    the graph. without: products, by their identity."""
    sites: dict[str, OnlineSite] = {}
    for node in graph.nodes:
        if node.op != "Gemm" or node.attrs or not isinstance(node.inputs[1], gs.Constant):
            continue
        x = node.inputs[0]
        if producer(x) is None or rotated_before(x) or int(x.shape[-1]) < LEAST:
            continue
        if id(node) in without or find_transform(node) is not None:
            continue
        sites.setdefault(x.name, OnlineSite(x)).readers.append(node)
    yield from sites.values()


def rotated_before(x: gs.Tensor) -> bool:
    node = producer(x)
    return node is not None and find_transform(node) is not None


def form_of(n: int, seed: int) -> HadamardForm:
    """Blocks as large as butterflies alone allow, and last one of a small base: 172 is 128 + 32 + 12. Signs are random:
    what all channels have in common would else gather in one."""
    blocks: list[HadamardBlock] = []
    left = n
    while left:
        m = next((m for m in BASES if left % m == 0 and is_power(left // m)), None)
        base = np.ones((1, 1)) if m is None else hadamard(m)
        assert base is not None, "all of `BASES` are Hadamard sizes"
        size = 1 << left.bit_length() - 1 if m is None else left
        blocks.append(HadamardBlock(base.astype(np.int8), (size // len(base)).bit_length() - 1))
        left -= size
    return HadamardForm(np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), n), tuple(blocks))


def is_power(n: int) -> bool:
    return n & (n - 1) == 0


def rotation(form: HadamardForm) -> Matrix:
    """[n, n], orthogonal."""
    found: Matrix = form.matrix() / np.sqrt(form.of_blocks([one.size for one in form.blocks]))
    return found


def makers(x: gs.Tensor) -> Sequence[str]:
    """The node that makes a tensor."""
    node = producer(x)
    return [] if node is None else [str(node.name)]


def put(graph: gs.Graph, site: OnlineSite, found: OnlineRotation) -> None:
    name, matrix = f"{site.readers[0].name}/rotated", found.matrix
    turned = variable(graph, name, np.float32, tuple(map(int, site.x.shape)))
    given: list[gs.Tensor] = [site.x, constant(graph, f"{name}.matrix", matrix.astype(np.float32))]
    graph.nodes.append(gs.Node("MatMul", name, {}, given, [turned]))
    read_instead(graph, site, turned, lambda weights: matrix.T @ weights)


def read_instead(graph: gs.Graph, site: OnlineSite, x: gs.Tensor, change: Callable[[Matrix], Matrix]) -> None:
    """Let the products of a site read `x`, by weights [n, out] that are changed."""
    for node in site.readers:
        weights = change(np.asarray(node.inputs[1].values, np.float64))
        node.inputs = [x, constant(graph, node.inputs[1].name, weights.astype(np.float32)), *node.inputs[2:]]
