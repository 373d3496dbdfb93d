"""The files of a bundle that are not the backend's: models, test vectors, manifest and report."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx

from bevel.backends.binary.artifact import Artifact, to_json
from bevel.backends.program.fit import BandChain
from bevel.backends.select.tune import Selections
from bevel.tools.report import arena_map, report
from bevel.tools.run import manifest
from bevel.tools.run.manifest import Manifest
from bevel.tools.run.options import Options

QUANTIZED, INTEGER = "quantized.onnx", "integer.onnx"
WHEELS = ("apache-tvm", "numpy", "onnx", "onnx-graphsurgeon", "onnxruntime")


def version() -> str:
    return metadata.version("bevel")


def save_model(folder: Path, name: str, model: onnx.ModelProto) -> str:
    """The sha256 of the file. Equal models become equal bytes."""
    data = model.SerializeToString(deterministic=True)
    (folder / name).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def finish(
    folder: Path,
    options: Options,
    artifact: Artifact,
    told: report.Report,
    selections: Selections,
    chains: Sequence[BandChain],
) -> None:
    """Write report.json, then manifest.json over all files."""
    report.write(folder, told)
    tools = {"python": platform.python_version(), "compiler": artifact.toolchain}
    tools |= {name: metadata.version(name) for name in WHEELS}
    arena = arena_map.to_json(arena_map.arena_map(artifact))
    settings: dict[str, Any] = {"target": options.target, "flash": options.flash, "ram": options.ram}
    settings |= {"name": artifact.model, "objective": options.objective}
    settings |= {"isa": options.isa, "threads": options.threads}
    settings |= {"logic": {str(name): amount for name, amount in options.logic.items()}}
    settings["kernels"] = {name: asdict(chosen) for name, chosen in selections.items()}
    settings["chains"] = [asdict(chain) for chain in chains]
    files = manifest.hashes(folder)
    manifest.write(folder, Manifest(version(), options.command, tools, files, settings, to_json(artifact), arena))
