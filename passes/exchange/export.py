"""A graph as a model file: functions it calls, metadata, and weights packed at the width they need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import onnx
import onnx_graphsurgeon as gs

from bevel.passes.exchange.compact_quantizers import compact_quantizers
from bevel.passes.exchange.keep_loadable import keep_loadable
from bevel.passes.exchange.pack_weights import pack_weights
from bevel.passes.exchange.unsigned_activations import unsigned_activations
from bevel.passes.operators import INTEGER_OPERATORS
from bevel.passes.operators.base import DOMAIN
from bevel.passes.operators.formats.unpack import FUNCTIONS as UNPACKING_FUNCTIONS
from bevel.passes.states.pairs import States, write_states

PORTS = (
    "bevel.ports"  # model metadata: {port: [scale, zero_point]} of ports that carry integers, or [scales, ..., axis]
)
IR_VERSION = 10  # the newest that opset 21 needs


def export(
    graph: gs.Graph, ports: Mapping[str, list[Any]] | None = None, states: States | None = None
) -> onnx.ModelProto:
    """The graph as a model. `ports`: what the integers at its ports mean; `states`: inputs that are outputs of the run
    before."""
    used = {node.op for node in graph.nodes if node.domain == DOMAIN}
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, "bevel", ""
    del model.functions[:]  # of an imported model, perhaps of an older version
    known = {one.name: one for operator in INTEGER_OPERATORS for one in operator.functions}
    used = {one.name for name in used for one in known[name].whole()}
    functions = {one.name: one.proto(graph.opset) for function in known.values() for one in function.whole()}
    constants = {name: tensor for name, tensor in graph.tensors().items() if isinstance(tensor, gs.Constant)}
    unpacking = pack_weights(model, constants, functions)
    if unpacking:
        functions |= {one.name: one.proto(graph.opset) for one in UNPACKING_FUNCTIONS}
    if used | unpacking and all(one.domain != DOMAIN for one in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    model.functions.extend(functions[name] for name in sorted(used | unpacking))
    if ports is not None:
        onnx.helper.set_model_props(model, {PORTS: json.dumps(ports, sort_keys=True)})
        keep_loadable(model)
    write_states(model, states or {})
    return model


def export_quantized(graph: gs.Graph, states: States | None = None) -> onnx.ModelProto:
    """A QDQ graph as the model file that other runtimes get: activations are uint8, and nothing stands in it twice."""
    model = export(graph, states=states)
    unsigned_activations(model)
    compact_quantizers(model)
    return model
