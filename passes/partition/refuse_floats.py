"""Say in one line which nodes a microcontroller cannot run, why each stayed float, and what would help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_graphsurgeon as gs

from bevel.backends.program.island import Importer
from bevel.passes.base import Note
from bevel.passes.exchange.cut_outputs import OPTION
from bevel.passes.graph.edit import producer
from bevel.passes.graph.quantizers import is_dequantize, is_quantize
from bevel.passes.operators import find_operator
from bevel.passes.operators.base import Match, NoKernel, Reason

NAMED = 4  # how many nodes a refusal names
DEQUANTIZED = "/dequantized"  # what a quantizer's tensor is called behind the model's own name


def reasons_of(notes: Iterable[Note]) -> dict[str, Reason]:
    """The reason why each node stayed float, as far as the passes said one."""
    kinds = {"no_kernel": NoKernel, "stays_float": Reason}
    return {note.node: kinds[note.kind](note.text) for note in notes if note.kind in kinds}


def refusal(graph: gs.Graph, floats: Sequence[gs.Node], given: Mapping[str, Reason], importer: Importer | None) -> str:
    """The line for the nodes of an integer graph that stayed float; `importer`: of targets that run them."""
    reasons = {node.name: reason for node in floats if (reason := reason_of(node, given)) is not None}
    causes = [node for node in floats if node.name in reasons] or list(floats)
    named = "; ".join(sentence(node, reasons.get(node.name)) for node in causes[:NAMED])
    more = f"; and {len(floats) - len(causes[:NAMED])} more" if len(floats) > len(causes[:NAMED]) else ""
    elsewhere = importer is not None and all(importer.is_importable(node.op) for node in floats)
    cpu = "choose a CPU target, which runs them in float, " if elsewhere else ""
    return (
        f"this target runs integers only, and these nodes have no integer kernel: {named}{more}; "
        f"replace them in the model, {cpu}or cut the model before them: {cut(floats)}"
    )


def sentence(node: gs.Node, reason: Reason | None) -> str:
    known = reason is not None and not isinstance(reason, NoKernel)
    return f"{node.name} ({node.op}): {reason}" if known else f"{node.name} ({node.op})"


def reason_of(node: gs.Node, given: Mapping[str, Reason]) -> Reason | None:
    """Why the node is float; None where it only stands among float nodes."""
    if node.name in given:
        return given[node.name]
    match find_operator(node):
        case Reason() as reason:
            return reason
        case (_, match):
            return missing_quantizer(match)


def missing_quantizer(match: Match) -> Reason | None:
    """Which quantizer an operator with an integer form lacks, as models may that came quantized."""
    sources = [producer(tensor) for tensor in match.inputs if isinstance(tensor, gs.Variable)]
    for tensor in match.inputs:
        if isinstance(tensor, gs.Variable) and not tensor.is_empty() and producer(tensor) is None:
            return Reason(f"its input {tensor.name}, an input of the model, is not quantized")
    if all(source is not None and is_dequantize(source) for source in sources):
        readers = [reader for tensor in match.node.outputs for reader in tensor.outputs]
        if not any(map(is_quantize, readers)):
            return Reason("its result is not quantized")
    return None


def cut(floats: Sequence[gs.Node]) -> str:
    """The option that cuts before the float nodes; with the tensors, if no integer node reads what floats make."""
    names = {node.name for node in floats}
    readers = [reader for node in floats for tensor in node.outputs for reader in tensor.outputs]
    read = [tensor for node in floats for tensor in node.inputs if is_made_by_others(tensor, names)]
    if not read or any(reader.name not in names for reader in readers):
        return f"{OPTION} NAME"
    return " ".join(dict.fromkeys(f"{OPTION} {tensor.name.removesuffix(DEQUANTIZED)}" for tensor in read))


def is_made_by_others(tensor: gs.Tensor, names: set[str]) -> bool:
    """Whether a node that is none of `names` computes the tensor; a stored weight is dequantized, and not computed."""
    source = producer(tensor)
    if source is None or source.name in names:
        return False
    return not is_dequantize(source) or isinstance(source.inputs[0], gs.Variable)
