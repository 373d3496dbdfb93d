"""Bring a model to the opset that every later stage speaks, with onnx's own version converter.

Opset 21 has the reductions' axes as inputs, Gelu, and QuantizeLinear for all integer widths down to 4 bits. Newer
models stay what they are: nothing we read changed since, and converting down is not reliable. Weights stay.
"""

from __future__ import annotations

import onnx
from onnx import inliner, version_converter

from bevel.calib.errors import UserError
from bevel.passes.operators.base import DOMAIN
from bevel.passes.operators.unpack import UNPACKING
from bevel.passes.quantizers import DEQUANTIZERS, QUANTIZERS, ROUNDINGS

OPSET = 21
IR_VERSION = 10  # the first to hold opset 21


def convert_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at opset 21 or its own if newer, model-local functions inlined; the argument is not changed.

    Raises UserError where the converter cannot do it.
    """
    version = opset_of(model)
    converted = inlined(model) if model.functions else model
    if version < OPSET:
        try:
            converted = version_converter.convert_version(converted, OPSET)
        except Exception as error:  # the converter raises RuntimeError, ConvertError and more
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"opset {version} cannot be converted to {OPSET} ({reason}); export the model with opset 17 or later"
            ) from error
    result = onnx.ModelProto()
    result.CopyFrom(converted)
    result.ir_version = max(result.ir_version, IR_VERSION)
    return result


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without local functions but those that unpack weights and those that belong to quantizers."""
    ours = {*UNPACKING, *QUANTIZERS, *DEQUANTIZERS, *ROUNDINGS}
    kept = [(one.domain, one.name) for one in model.functions if one.domain == DOMAIN and one.name in ours]
    return inliner.inline_selected_functions(model, kept, exclude=True)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the default domain. Raises UserError where the model imports none."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise UserError("the model imports no version of the standard ONNX operators")
    return int(max(versions))
