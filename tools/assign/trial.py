"""The model with formats for single nodes, made as far as is asked: quantized, integer, or built and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.binary import elf, wasm
from bevel.backends.binary.artifact import Artifact
from bevel.backends.binary.toolchain import for_target
from bevel.backends.build import BuildOptions, arranged, build, tuned_program
from bevel.backends.devices.base import Device, Measurement
from bevel.backends.program.conversions import split_conversions
from bevel.backends.program.fit import Fit
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resource, Resources
from bevel.backends.ram import build_within, fit_ram
from bevel.backends.select.objective import OBJECTIVES, Objective
from bevel.backends.target import Target
from bevel.backends.tir import importer
from bevel.calib.errors import UserError
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.problem import FormatSite
from bevel.passes.base import Work
from bevel.passes.exchange.export import export
from bevel.passes.partition.partition import partition
from bevel.passes.pipeline import Pipeline
from bevel.passes.quantize.chosen import Chosen, NodeFormat
from bevel.passes.quantize.plan_scales import PlanScales
from bevel.passes.recipes.build import Recipe
from bevel.tools.run import vectors
from bevel.tools.run.data import Data
from bevel.tools.run.options import Options

NEAREST = "nearest"
VECTORS = 2  # instructions hardly differ between inputs
ROOM = 16 * 1024 * 1024

Formats = Mapping[FormatSite, TensorFormat]


@dataclass(frozen=True)
class Trial:
    """A model as a budget sees it. program: as it was built, in bands where it had to be, with the kernels it has;
    code: bytes of each kernel, by its symbol."""

    program: Program
    artifact: Artifact
    measurement: Measurement | None
    code: Mapping[str, int]


@dataclass(frozen=True)
class Maker:
    """`canonical`: the float model that is quantized; `observed`: the same before it is, with what holds for all nodes
    and what the user fixed."""

    options: Options
    recipe: Recipe
    canonical: onnx.ModelProto
    observed: Work
    data: Data
    name: str
    target: Target
    device: Device | None = field(default=None)

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.options.objective]

    @property
    def rough(self) -> Maker:
        """What makes models of the same costs sooner, and whole: who rounds weights makes no difference to costs, and a
        format that takes too much RAM everywhere may be right somewhere."""
        recipe = self.recipe.with_option("round-weights", "rounding", NEAREST, "costs")
        target = with_room(self.target, Resource.FLASH, Resource.RAM)
        return replace(self, recipe=recipe, target=target, options=replace(self.options, max_ram=None))

    def nodes(self, formats: Formats) -> dict[str, NodeFormat]:
        """What the user fixed, and `formats` for the rest."""
        nodes = dict(self.observed.schemes.nodes)
        for site, one in formats.items():
            before = nodes.get(site.node, NodeFormat())
            of_weights = site.part == "weights"
            nodes[site.node] = replace(before, weights=one) if of_weights else replace(before, activations=one)
        return nodes

    def assigned(self, formats: Formats) -> Work:
        """The float graph, with formats."""
        schemes = replace(self.observed.schemes, nodes=self.nodes(formats))
        return replace(self.observed, graph=gs.import_onnx(self.canonical), schemes=schemes)

    def planned(self, formats: Formats) -> Work:
        """With scales; weights are still as they were."""
        passes = [one for one in self.recipe.passes if one.stage == "quantize"]
        last = [one.name for one in passes].index(PlanScales.name)
        return Pipeline(passes[: last + 1])(self.assigned(formats)).work

    def work(self, formats: Formats) -> Work:
        """With quantizers."""
        return self.recipe.run("quantize", self.assigned(formats))

    def quantized(self, formats: Formats) -> onnx.ModelProto:
        return export(self.work(formats).graph)

    def integer(self, formats: Formats) -> onnx.ModelProto:
        done = self.recipe.run("integerize", self.work(formats))
        return export(done.graph, done.ports, done.states)

    def lowered(self, integer: onnx.ModelProto) -> Program:
        program, _ = partition(integer, self.name, islands=not self.target.bare, importer=importer)
        return split_conversions(program, self.target)

    def program(self, formats: Formats) -> Program:
        return self.lowered(self.integer(formats))

    def fitted(self, program: Program) -> Fit:
        """`program`, in bands of rows where there is too little RAM."""
        return fit_ram(program, self.target, self.options.max_ram, self.objective)

    def built(self, formats: Formats, measure: bool) -> Trial:
        """Built as `optimize` would, in a folder that is gone afterwards; with `measure`, run on the device.

        Raises UserError where it takes more RAM than there is.
        """
        integer = self.integer(formats)
        program = self.lowered(integer)
        tests = vectors.make_vectors(integer, program, self.data.vectors, VECTORS)
        with tempfile.TemporaryDirectory(prefix="bevel-") as place:
            folder = Path(place)
            settings = BuildOptions(objective=self.objective)
            target, limit = with_room(self.target, Resource.FLASH), self.options.max_ram
            make = partial(build, target=target, folder=folder, vectors=tests, options=settings)
            fitted, artifact = build_within(
                program, self.fitted(program), self.target, limit, folder, self.objective, make
            )
            measurement = self.device.measure(artifact, tests) if self.device is not None and measure else None
            return Trial(self.as_built(fitted.program), artifact, measurement, code_sizes(artifact))

    def as_built(self, program: Program) -> Program:
        """`program` with the kernels that a build takes for it."""
        special = arranged(program, self.target, self.objective)
        return tuned_program(special, self.target, for_target(self.target), None)[0]


def with_room(target: Target, *names: Resource) -> Target:
    """`target` with all of its memories `names` that its map leaves: what is too large is measured too, and then not
    taken."""
    for name in names:
        memory = target.memory(name)
        if memory is not None:
            gaps = [other.origin - memory.origin for other in target.memories if other.origin > memory.origin]
            target = target.with_memory(Resources({name: max(memory.bytes, min([*gaps, ROOM]))}))
    return target


def code_sizes(artifact: Artifact) -> dict[str, int]:
    """{symbol: bytes} of the kernels in the linked product, with the pieces that a compiler split off them. None of
    WebAssembly, whose modules tell no names."""
    product = artifact.firmware or artifact.library
    if product is None or wasm.is_wasm((artifact.folder / product).read_bytes()):
        return {}
    sizes = dict.fromkeys(artifact.call_symbols, 0)
    for symbol in elf.read(artifact.folder / product).symbols:
        owner = symbol.name.partition(".")[0]
        if symbol.function and owner in sizes:
            sizes[owner] += symbol.size
    return sizes


def fixed_formats(sites: Mapping[str, object], wanted: Chosen) -> set[str]:
    """The sites whose weights the user fixed."""
    return {site for site in sites if wanted.nodes.get(site, NodeFormat()).weights is not None}


def no_sites(model: Path) -> UserError:
    return UserError(f"{model} has no node with weights whose format could be chosen; leave the budgets out")
