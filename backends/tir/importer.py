"""TVM's importer of float islands as passes are given it, an `Importer`: loaded when a float node asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from bevel.backends.program.island import Island


def is_importable(op: str) -> bool:
    from bevel.backends.tir import islands

    return islands.is_importable(op)


def import_island(model: onnx.ModelProto, prefix: str) -> Island:
    from bevel.backends.tir import islands

    return islands.import_island(model, prefix)
