"""The product of a bundle: what runs on a device, and the same model built again for other inputs or threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from bevel.backends import target as targets
from bevel.backends.backend import LogicMode
from bevel.backends.binary.artifact import Artifact, from_json
from bevel.backends.build import BuildOptions, build
from bevel.backends.devices.base import Vectors
from bevel.backends.program.fit import BandChain, in_bands
from bevel.backends.program.program import Program
from bevel.backends.program.resources import Resources
from bevel.backends.select import tuned
from bevel.backends.select.objective import OBJECTIVES
from bevel.backends.target import CHANGEABLE, Target
from bevel.backends.tir import importer
from bevel.passes.exchange.load import load_model
from bevel.passes.partition.partition import partition
from bevel.tools.run import bundle, manifest
from bevel.tools.run.manifest import Manifest

FOLDING, PROGRAM = "folding.json", "mem/program.mem"  # of programmable logic: of streams, and of an overlay


def artifact_of(folder: Path, made: Manifest) -> Artifact:
    """What is in the bundle. Raises UserError where another version described it."""
    try:
        return from_json(made.artifact, folder)
    except (KeyError, TypeError):
        raise manifest.of_another_version(folder) from None


def target_of(made: Manifest) -> Target:
    """What it was built for."""
    settings = made.settings
    given = {name: settings[name] for name in CHANGEABLE if settings[name] is not None}
    asked = targets.load(settings["target"]).asked(Resources(given), settings["isa"], settings["threads"])
    return asked.with_logic(Resources(settings["logic"]))


def program_of(folder: Path, made: Manifest, target: Target) -> tuple[onnx.ModelProto, Program]:
    """The bundle's integer.onnx, and the program that computes it."""
    integer = load_model(folder / bundle.INTEGER)
    program, _ = partition(integer, made.settings["name"], islands=not target.bare, importer=importer)
    return integer, replace(program, sha256=made.files[bundle.INTEGER])


def build_again(
    folder: Path, made: Manifest, program: Program, target: Target, place: Path, tests: Vectors
) -> Artifact:
    """`program`, as `program_of` has it, built in `place` by the choices of the bundle in `folder`."""
    selections = {kernel: tuned.selection(chosen) for kernel, chosen in made.settings["kernels"].items()}
    banded = in_bands(program, [BandChain(**chain) for chain in made.settings["chains"]])
    folding = folder / FOLDING if FOLDING in made.files else None
    objective = OBJECTIVES[made.settings["objective"]]
    mode: LogicMode = "overlay" if PROGRAM in made.files else "auto"
    options = BuildOptions(selections=selections, objective=objective, folding=folding, mode=mode)
    return build(banded, target, place, tests, options)
