"""QONNX in: its quantizers in the operators that every later stage knows, with scales and widths kept.

QONNX keeps weights as floats behind quantizer nodes, whose parameters may be computed from constants, and leaves a
tensor float where nobody quantized it. The result is a QDQ model of opset 21.
"""

from __future__ import annotations

import logging

import onnx
import onnx_graphsurgeon as gs

from bevel.calib.errors import UserError
from bevel.passes.canonicalize.convert_opset import convert_opset
from bevel.passes.canonicalize.fold_constants import NEVER, FoldConstants, evaluate, find
from bevel.passes.exchange.export import export
from bevel.passes.exchange.qonnx.nodes import DOMAINS, QUANTIZERS, called, is_quantizer, read_quantizer
from bevel.passes.exchange.qonnx.quantize_activations import quantize_activation
from bevel.passes.exchange.qonnx.store_constants import store_constant


def holds_qonnx(model: onnx.ModelProto) -> bool:
    return any(node.domain in DOMAINS for node in model.graph.node)


def import_qonnx(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` without nodes of QONNX; itself where it has none.

    Raises UserError for a quantizer that has no integer form, and for QONNX's operators that are no quantizers.
    """
    if not holds_qonnx(model):
        return model
    logging.getLogger("onnx_graphsurgeon").setLevel(logging.ERROR)
    graph = gs.import_onnx(convert_opset(model))
    for node in graph.nodes:
        if node.domain in DOMAINS and not is_quantizer(node):
            raise UserError(f"{called(node)} of {node.domain} cannot be compiled; Quant, BipolarQuant, FloatQuant can")
    graph.import_domains = [entry for entry in graph.import_domains or () if entry.domain not in DOMAINS]
    fold_parameters(graph)
    for node in list(graph.toposort().nodes):
        if is_quantizer(node):
            change = store_constant if isinstance(node.inputs[0], gs.Constant) else quantize_activation
            change(graph, node, read_quantizer(node))
    graph.cleanup().toposort()
    return export(graph)


def fold_parameters(graph: gs.Graph) -> None:
    """Evaluate what depends on constants only, up to the quantizers."""
    foldable, _ = find(graph, FoldConstants.max_bytes, NEVER | QUANTIZERS)
    if foldable:
        evaluate(graph, foldable)
        graph.cleanup().toposort()
