"""folding.json: what stands side by side in each node. Written with every design; to be edited and given back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bevel.backends.fpga.network import Folded
from bevel.backends.fpga.node import Folding
from bevel.calib.errors import UserError

NAME = "folding.json"


def text(folded: Folded) -> str:
    """Of each node by its name: its folding, and what comes of it, which is not read back: cycles and multipliers."""
    nodes = {}
    for node, folding, stages in zip(folded.network.nodes, folded.foldings, folded.stages, strict=True):
        told = {"cycles": max(stage.cycles for stage in stages), "multipliers": sum(stage.lanes for stage in stages)}
        nodes[node.name] = {**asdict(folding), **told}
    return json.dumps(nodes, indent=2) + "\n"


def read(path: Path) -> dict[str, Folding]:
    """Raises UserError for a file that is not such."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return {name: folding(one) for name, one in fields.items()}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is no {NAME}: for each node it has outputs, rows and channels, whole numbers, and multiplier"
        ) from None


def folding(fields: Mapping[str, object]) -> Folding:
    counts = [fields[name] for name in ("outputs", "rows", "channels")]
    if not all(isinstance(count, int) and count > 0 for count in counts):
        raise ValueError(counts)
    outputs, rows, channels = (int(str(count)) for count in counts)
    match fields["multiplier"]:
        case "dsp" | "lut" as multiplier:
            return Folding(outputs, rows, channels, multiplier)
    raise ValueError(fields["multiplier"])
