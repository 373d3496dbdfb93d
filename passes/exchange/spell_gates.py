"""Parameters of the gates' functions that an LSTM, GRU or RNN leaves out, written as what onnxruntime takes for them.

onnxruntime 1.28 takes 0 for all: a LeakyRelu is a Relu there, and an Elu, too. 1.32 takes those of
`bevel.calib.arithmetic.gate_functions`, which are ONNX's but for ThresholdedRelu. Written out, both compute the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import helper

from bevel.calib.arithmetic.float_cell import RECURRENT
from bevel.calib.arithmetic.gate_functions import FORMULAS, SPELLED, gate_functions
from bevel.passes.base import Note
from bevel.passes.exchange.lower_opset import all_nodes
from bevel.passes.exchange.widen_floats import PASS

PARAMETERS = ("activation_alpha", "activation_beta")


def spell_gates(model: onnx.ModelProto) -> list[Note]:
    """Edit `model`, and its subgraphs, in place. Functions that ONNX has not are left to who refuses them."""
    return list(spelled(model))


def spelled(model: onnx.ModelProto) -> Iterator[Note]:
    for node in all_nodes(model):
        if node.op_type not in RECURRENT or node.domain:
            continue
        given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        names = [name.decode() for name in given.get("activations", ())]
        if any(name.lower() not in SPELLED for name in names):
            continue
        functions = gate_functions(names, *(given.get(name, ()) for name in PARAMETERS))
        for place, name in enumerate(PARAMETERS):
            values = [(one.alpha, one.beta)[place] for one in functions if FORMULAS[one.name][1 + place] is not None]
            if len(given.get(name, ())) < len(values):
                for old in [one for one in node.attribute if one.name == name]:
                    node.attribute.remove(old)
                node.attribute.append(helper.make_attribute(name, values))
                label = node.name or next(one for one in node.output if one)
                yield Note(PASS, label, "changed", f"{name}, which it leaves out, is {values}, as onnxruntime has it")
