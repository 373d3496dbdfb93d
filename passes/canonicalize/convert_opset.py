"""Bring a model to the opset that every later stage speaks, with onnx's own version converter.

Opset 21 has the reductions' axes as inputs, Gelu, and QuantizeLinear for all integer widths down to 4 bits. Newer
models come down where that changes nothing (`bevel.passes.exchange.lower_opset`). Weights stay.
"""

from __future__ import annotations

from functools import cache

import onnx
import onnxruntime as ort
from onnx import inliner, version_converter

from bevel.calib.errors import UserError, reason_of
from bevel.passes.canonicalize.evaluate import open_session
from bevel.passes.canonicalize.old_spellings import correct, respell
from bevel.passes.exchange.lower_opset import STANDARD, all_nodes, lower_opset, lowest_version, schema
from bevel.passes.graph.quantizers import DEQUANTIZERS, QUANTIZERS, ROUNDINGS
from bevel.passes.operators.base import DOMAIN
from bevel.passes.operators.formats.unpack import UNPACKING

OPSET = 21
IR_VERSION = 10  # the first to hold opset 21


def convert_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at opset 21, or as near to it as its operators allow, model-local functions inlined; the argument is
    not changed.

    Raises UserError where that cannot be done.
    """
    result = onnx.ModelProto()
    result.CopyFrom(inlined(model) if model.functions else model)
    version = opset_of(result)
    if version < OPSET:
        result = raised(result, version)
    else:
        lower_opset(result, OPSET)
        check_quantizers(result)
    result.ir_version = max(result.ir_version, IR_VERSION)
    return result


def raised(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The older model at `OPSET`; `model` is used up."""
    respell(model, version)
    import_domains(model)
    try:
        converted = version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError, ConvertError and more
        check_operators(model, version)
        reason = f"opset {version} cannot be converted to {OPSET} ({reason_of(error)})"
        raise UserError(f"{reason}; export the model with opset 17 or later") from error
    correct(converted, version)
    result: onnx.ModelProto = converted
    return result


def check_operators(model: onnx.ModelProto, version: int) -> None:
    """Raises UserError for an operator that ONNX does not define, or has given up: onnxruntime may still know it."""
    for node in all_nodes(model):
        if node.domain in STANDARD and schema(node.op_type, version) is None:
            name = node.name or node.output[0]
            raise UserError(f"node {name} ({node.op_type}): opset {version} of ONNX has no such operator; replace it")


def import_domains(model: onnx.ModelProto) -> None:
    """Say which domains the model uses, where it does not: onnx's converter insists on it."""
    known = {entry.domain for entry in model.opset_import}
    used = {node.domain for node in all_nodes(model) if node.domain not in STANDARD}
    model.opset_import.extend(onnx.helper.make_opsetid(domain, 1) for domain in sorted(used - known))


def check_quantizers(model: onnx.ModelProto) -> None:
    """Raises UserError where onnxruntime has no quantizers of the opset that the model's operators hold it at."""
    version = opset_of(model)
    if version == OPSET or quantizers_run(version):
        return
    newest = next(v for v in range(version - 1, OPSET - 1, -1) if quantizers_run(v))
    holders = [node for node in all_nodes(model) if lowest_version(node, version, OPSET) > newest]
    named = ", ".join(f"{node.name or node.output[0]} ({node.op_type})" for node in holders[:4])
    raise UserError(
        f"node {named} needs opset {version}; onnxruntime {ort.__version__} quantizes up to opset {newest}: "
        f"export the model with opset {newest} or older"
    )


@cache
def quantizers_run(version: int) -> bool:
    """Whether onnxruntime runs QuantizeLinear and DequantizeLinear of this opset."""
    text = f"""<ir_version: {IR_VERSION}, opset_import: ["" : {version}]> g (float[1] x) => (float[1] y)
        <float s = {{1}}, int8 z = {{0}}> {{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }}"""
    try:
        open_session(onnx.parser.parse_model(text))
    except Exception:  # its exceptions share no base class but Exception
        return False
    return True


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
