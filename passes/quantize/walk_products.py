"""Products one level after the other, each seen as it reads and should make: in the model that is quantized up to it.

The quantized model has the quantizers of all activations that were planned, and the weights of the levels that are
done; the float model runs beside it. Of every level both are run over all samples, from what the level before left, and
of each product the moments of what it reads here and makes there are summed (`bevel.calib.observe.moments`); where it
is added to something, what that has lost is to be made, too (`sums_behind`). Every `HELD`-th sample is held out. Then
its weights are rounded, and the walk goes on with them.

Price: each model once over all samples, and some rows of each product (`bevel.passes.quantize.seen_rows`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from bevel.calib.data.dataset import Runs, Subset
from bevel.calib.observe.observe import workers
from bevel.calib.observe.staged import StagedModel
from bevel.calib.observe.statistics import Statistics
from bevel.calib.rounding.base import SeenProduct
from bevel.calib.scales.ranges import RangeMethod
from bevel.passes.exchange.export import export
from bevel.passes.quantize.choose_scales import Scales
from bevel.passes.quantize.insert_qdq import bias_codes, insert_qdq
from bevel.passes.quantize.plan import QuantizationPlan
from bevel.passes.quantize.product_rows import product_of, product_rows
from bevel.passes.quantize.results import error_power, power
from bevel.passes.quantize.round_weights import ProductWeights, Rounded
from bevel.passes.quantize.seen_rows import RowsOfProduct, Walked, importance
from bevel.passes.quantize.sums_behind import SumBehind, depths_of, sum_behind
from bevel.passes.quantize.units import Unit, by_level
from bevel.passes.quantize.widen_activations import planned

HELD = 8  # one sample of so many is held out
FEWEST = 4  # samples, of which one is held out

Made = TypeVar("Made", bound="MadeUnit")
Arrays = Mapping[str, NDArray[np.float32]]


class MadeUnit(Protocol):
    @property
    def made(self) -> Sequence[Rounded]: ...


@dataclass(frozen=True, eq=False)
class WalkedUnits(Generic[Made]):
    """units: what was made of each; left_db: of the model's results, by the rivals and by what was made, on samples
    held out."""

    units: Sequence[Made]
    left_db: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class ProductWalk:
    """graph: float and canonical; scales: of its activations; found: the weights of all of its products; units: those
    that are rounded by what is seen of them, by level; blind: all products as those are that are in no unit; shares:
    by product, the shares of attention in the float model by which its rows count, of the samples that are fitted to;
    kept: so many of those rows are handed on."""

    graph: gs.Graph
    scales: Scales
    statistics: Mapping[str, Statistics]
    method: RangeMethod
    states: Mapping[str, str]
    runs: Runs
    found: Sequence[ProductWeights]
    units: Sequence[Unit]
    blind: Sequence[Rounded]
    shares: Mapping[str, str] = field(default_factory=dict)
    kept: int = 0

    def rounded(
        self,
        round_unit: Callable[[Unit, Sequence[SeenProduct]], Made],
        rivals: Sequence[Rounded] = (),
        results: Sequence[str] = (),
    ) -> WalkedUnits[Made]:
        """Each unit as `round_unit` makes it of what is seen of its products. results: tensors of the float model by
        which all that is made is held to the `rivals`, where samples are held out."""
        graph, walked = self.quantized()
        model, made, held = export(graph), list[Made](), held_out(len(self.runs))
        with tempfile.TemporaryDirectory(prefix="bevel-") as folder, ThreadPoolExecutor(workers()) as pool:
            plain = StagedModel(export(self.graph), self.runs, Path(folder), results)
            rough = StagedModel(model, self.runs, Path(folder), results)
            self.store(rough, walked, dict(enumerate(self.blind)))
            for units in by_level(self.units).values():
                seen = self.look(plain, rough, [walked[place] for unit in units for place in unit.places], pool)
                parts = [list(islice(seen, len(unit.places))) for unit in units]
                for unit, one in zip(units, pool.map(round_unit, units, parts), strict=True):
                    made.append(one)
                    self.store(rough, walked, dict(zip(unit.places, one.made, strict=True)))
            if not results or not held:
                return WalkedUnits(made, None)
            other = StagedModel(model, Subset(self.runs, held), Path(folder), results)
            self.store(other, walked, dict(enumerate(rivals)))
            for staged in (plain, rough, other):
                staged.advance(results)
            return WalkedUnits(made, (left_of(plain, other, results, held, True), left_of(plain, rough, results, held)))

    def store(self, model: StagedModel, walked: Sequence[Walked], rounded: Mapping[int, Rounded]) -> None:
        """Give products their weights and biases, as the quantized model has them."""
        for place, one in rounded.items():
            model.set(constants_of(walked[place], one, self.scales))

    def quantized(self) -> tuple[gs.Graph, list[Walked]]:
        """A copy of the graph with quantized activations, and constants of its own for each product."""
        floats = any(one.beside_floats for one in self.found)
        copy, plan = (
            (gs.import_onnx(gs.export_onnx(self.graph)), QuantizationPlan())
            if floats
            else planned(self.graph, self.statistics, self.method, self.states)
        )
        nodes = {node.name: node for node in copy.nodes}
        walked = [with_constants(nodes, one) for one in self.found]
        insert_qdq(copy, replace(plan, taken={}), self.scales, ())
        copy.cleanup().toposort()
        sums, counts = self.sums(), self.counts()
        return copy, [
            replace(one, x=nodes[name].inputs[0].name, added=added(sums.get(name), nodes), counts=counts.get(name))
            for one, name in ((one, product_of(one.weights).name) for one in walked)
        ]

    def counts(self) -> dict[str, NDArray[np.float32]]:
        """By the names of products: how often the tokens of each run count, [runs, tokens]. Shares of attention lie
        behind what they count for, so the float model runs once more as far as these."""
        names = list(dict.fromkeys(self.shares.values()))
        if not names:
            return {}
        with tempfile.TemporaryDirectory(prefix="bevel-") as folder:
            plain = StagedModel(export(self.graph), self.runs, Path(folder))
            found = dict[str, NDArray[np.float32]]()
            for name in names:
                plain.advance([name])
                found[name] = np.stack([importance(plain.read(name, run)) for run in range(plain.runs)])
        return {product: found[name] for product, name in self.shares.items()}

    def sums(self) -> dict[str, SumBehind]:
        """By the names of products, those of which the other addend is there before they are rounded."""
        levels = {product_of(self.found[place]).name: unit.level for unit in self.units for place in unit.places}
        depths = depths_of(self.graph, levels)
        found = {name: sum_behind(self.graph, node) for name, node in nodes_of(self.graph, levels).items()}
        return {
            name: one
            for name, one in found.items()
            if one is not None and depths.get(one.other.name, 0) <= levels[name]
        }

    def look(
        self, plain: StagedModel, rough: StagedModel, products: Sequence[Walked], pool: ThreadPoolExecutor
    ) -> Iterator[SeenProduct]:
        """What is seen of each product, in order. Chunks of samples are summed apart and added in their order, whoever
        was first."""
        added = [one.added for one in products if one.added is not None]
        plain.advance([*(one.y for one in products), *(name for name, _ in added)])
        rough.advance([*(one.x for one in products), *(name for _, name in added)])
        held = held_out(plain.runs)
        fitted = [run for run in range(plain.runs) if run not in held]
        for one in products:
            rows = RowsOfProduct(plain, rough, one)
            judged = replace(rows, product=replace(one, counts=None)).moments(held, pool) if held else None
            yield SeenProduct(one.rows, rows.moments(fitted, pool), judged, rows.kept(fitted, self.kept))


def nodes_of(graph: gs.Graph, names: Iterable[str]) -> dict[str, gs.Node]:
    wanted = set(names)
    return {node.name: node for node in graph.nodes if node.name in wanted}


def added(behind: SumBehind | None, nodes: Mapping[str, gs.Node]) -> tuple[str, str] | None:
    """nodes: of the quantized model, by name."""
    return None if behind is None else (behind.other.name, nodes[behind.add.name].inputs[behind.index].name)


def with_constants(nodes: Mapping[str, gs.Node], one: ProductWeights) -> Walked:
    product = product_of(one)
    inner, outer = nodes[product.name], nodes[one.match.node.name]
    values, bias = f"{inner.name}/walked/{one.tensor.name}", f"{inner.name}/walked/bias"
    replace_constant(inner, one.tensor.name, gs.Constant(values, one.tensor.values.copy()))
    if one.bias is not None:
        replace_constant(outer, one.bias.name, gs.Constant(bias, one.bias.values.copy()))
    rows = product_rows(product)
    return Walked(
        one,
        rows,  # type: ignore[arg-type]  # units hold products that have rows
        "",
        product.outputs[0].name,
        values,
        None if one.bias is None else bias,
        one.bias is not None and product is one.match.node,
    )


def held_out(runs: int) -> tuple[int, ...]:
    """The samples that nothing is fitted to."""
    every = HELD if runs >= 2 * HELD else FEWEST
    return tuple(range(every - 1, runs, every))


def left_of(
    plain: StagedModel, rough: StagedModel, results: Sequence[str], held: Sequence[int], alone: bool = False
) -> float:
    """dB of the results that errors leave, all results alike, never nan. alone: `rough` ran those samples only."""
    noise = 0.0
    for name in results:
        size = error = 0.0
        for place, run in enumerate(held):
            true = plain.read(name, run).astype(np.float64)
            size += power(true)
            error += error_power(rough.read(name, place if alone else run), true)
        noise += error / size if size > 0 else 0.0
    return float(-10 * np.log10(noise)) if noise > 0 else np.inf


def replace_constant(node: gs.Node, old: str, new: gs.Constant) -> None:
    node.inputs = [new if tensor.name == old else tensor for tensor in node.inputs]


def constants_of(walked: Walked, rounded: Rounded, scales: Scales) -> Arrays:
    """As the quantized model has them."""
    found = {walked.values: rounded.quantized.dequantize()}
    if walked.bias is not None and rounded.bias is not None and walked.weights.beside_floats:
        found[walked.bias] = rounded.bias.astype(np.float32).reshape(-1)
    elif walked.bias is not None and rounded.bias is not None:
        codes, scale = bias_codes(rounded, scales)
        found[walked.bias] = codes.astype(np.float32) * scale
    return found
