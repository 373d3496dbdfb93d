"""What a user fixes for single nodes, in TOML:

    [[node]]
    match = "conv_*"        # a shell pattern on names of nodes and of model inputs
    weights = "int4"
    activations = "int8"

Of several tables that match a name the later ones win, field by field.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import onnx

from bevel.calib.data.files import check_plain
from bevel.calib.errors import UserError
from bevel.calib.formats.tensor_format import TensorFormat
from bevel.passes.assign.probe import weighted_nodes
from bevel.passes.quantize.chosen import NodeFormat
from bevel.passes.quantize.formats import activation_format, weight_format

KEYS = ("match", "weights", "activations")
LISTED = 8  # names that a message shows


@dataclass(frozen=True)
class Pattern:
    """What nodes whose names match shall have; None: as for all others."""

    match: str
    weights: TensorFormat | None = None
    activations: TensorFormat | None = None


def read_patterns(path: Path) -> list[Pattern]:
    """Raises UserError for a file that is not there, is not TOML, or says something else than the above."""
    try:
        check_plain(path)
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a TOML file with [[node]] tables") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not TOML: {error}") from error
    tables = data.get("node")
    if set(data) != {"node"} or not isinstance(tables, list) or not tables:
        raise UserError(f"{path} holds {', '.join(data) or 'nothing'}; write [[node]] tables with {', '.join(KEYS)}")
    return [pattern(table, f"{path}, [[node]] {number}") for number, table in enumerate(tables, 1)]


def pattern(table: Mapping[str, Any], where: str) -> Pattern:
    unknown = [key for key in table if key not in KEYS]
    if unknown or not all(isinstance(value, str) for value in table.values()):
        raise UserError(f"{where} has {', '.join(unknown) or 'values that are not text'}; it takes {', '.join(KEYS)}")
    if "match" not in table or len(table) < 2:
        raise UserError(f"{where} needs match and one of weights and activations")

    weights = weight_format(table["weights"]) if "weights" in table else None
    activations = activation_format(table["activations"]) if "activations" in table else None
    return Pattern(table["match"], weights, activations)


def apply_patterns(patterns: Sequence[Pattern], canonical: onnx.ModelProto) -> dict[str, NodeFormat]:
    """What is different for which nodes of the canonical model, or inputs.

    Raises UserError for a pattern that no name matches, and for weights of nodes that have none.
    """
    weighted = weighted_nodes(canonical)
    names = [value.name for value in canonical.graph.input] + [node.name for node in canonical.graph.node]
    found: dict[str, NodeFormat] = {}
    for one in patterns:
        matching = [name for name in names if fnmatchcase(name, one.match)]
        if not matching:
            raise UserError(f'match = "{one.match}" names no node; there are {listed(names)}')
        if one.weights is not None and not any(name in weighted for name in matching):
            raise UserError(f'match = "{one.match}" names no node with weights; those are {listed(list(weighted))}')
        for name in matching:
            before = found.get(name, NodeFormat())
            weights = one.weights if name in weighted and one.weights is not None else before.weights
            found[name] = replace(before, weights=weights, activations=one.activations or before.activations)
    return found


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
