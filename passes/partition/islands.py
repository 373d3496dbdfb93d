"""Float islands of an integer graph as models of their own: neighbouring nodes that have no integer form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import onnx
import onnx_graphsurgeon as gs

from bevel.backends.program.island import Importer, Island, NotImportable
from bevel.calib.errors import UserError
from bevel.passes.partition.spell_floats import spell

WAY_OUT = "replace it in the model, or cut the model before it: --outputs-at NAME"


@dataclass(frozen=True)
class FloatRun:
    """Float nodes that follow each other. `inputs` are made outside, `outputs` read outside."""

    nodes: tuple[gs.Node, ...]
    inputs: tuple[gs.Tensor, ...]
    outputs: tuple[gs.Tensor, ...]
    opset: int

    @property
    def prefix(self) -> str:
        return f"{self.nodes[0].name}/"

    def model(self, name_of: Callable[[gs.Tensor], str] = lambda tensor: str(tensor.name)) -> onnx.ModelProto:
        """The nodes as they are; `name_of` names the inputs."""
        made = _Copies({tensor.name: name_of(tensor) for tensor in self.inputs})
        nodes = [made.node(node) for node in self.nodes]
        return made.model(nodes, self.inputs, self.outputs, self.opset)


@dataclass
class _Copies:
    """Copies of nodes and tensors, so that the graph they come from stays whole."""

    names: dict[str, str]
    tensors: dict[str, gs.Variable] = field(default_factory=dict)

    def tensor(self, one: gs.Tensor) -> gs.Tensor:
        if isinstance(one, gs.Constant) or one.is_empty():
            return one
        if one.name not in self.tensors:
            self.tensors[one.name] = gs.Variable(self.names.get(one.name, one.name), one.dtype, one.shape)
        return self.tensors[one.name]

    def node(self, node: gs.Node) -> gs.Node:
        inputs, outputs = ([self.tensor(one) for one in side] for side in (node.inputs, node.outputs))
        return gs.Node(node.op, node.name, dict(node.attrs), inputs, outputs)

    def model(
        self, nodes: list[gs.Node], inputs: Iterable[gs.Tensor], outputs: Iterable[gs.Tensor], opset: int
    ) -> onnx.ModelProto:
        ports = ([self.tensor(one) for one in side] for side in (inputs, outputs))
        result: onnx.ModelProto = gs.export_onnx(gs.Graph(nodes, *ports, opset=opset), do_type_check=False)
        return result


def float_runs(graph: gs.Graph, in_integers: Callable[[gs.Node], bool]) -> list[FloatRun]:
    """In execution order; `in_integers` says which nodes are none of theirs."""
    ports = {tensor.name for tensor in graph.outputs}
    runs = [list(run) for integers, run in groupby(graph.nodes, key=in_integers) if not integers]
    return [float_run(nodes, ports, graph.opset) for nodes in runs]


def float_run(nodes: Sequence[gs.Node], ports: set[str], opset: int) -> FloatRun:
    """`ports`: the outputs of the graph, by name."""
    made = {tensor.name for node in nodes for tensor in node.outputs}
    read = {tensor.name: tensor for node in nodes for tensor in node.inputs if isinstance(tensor, gs.Variable)}
    inputs = tuple(tensor for name, tensor in read.items() if name not in made and not tensor.is_empty())
    inside = {id(node) for node in nodes}
    outputs = tuple(
        tensor
        for node in nodes
        for tensor in node.outputs
        if tensor.name in ports or any(id(reader) not in inside for reader in tensor.outputs)
    )
    return FloatRun(tuple(nodes), inputs, outputs, opset)


def imported(
    run: FloatRun, importer: Importer, name_of: Callable[[gs.Tensor], str] = lambda tensor: str(tensor.name)
) -> Island:
    """Raises UserError, one line that names the node and its operator, for what the importer does not take."""
    try:
        return importer.import_island(spell(run.model(name_of)), run.prefix)
    except NotImportable as error:
        what = f"{run.nodes[0].name} ({run.nodes[0].op})"
        if len(run.nodes) > 1:
            for node in run.nodes:
                imported(float_run([node], {tensor.name for tensor in run.outputs}, run.opset), importer)
            what = f"the float nodes from {what} on"
        raise UserError(
            f"{what} has no integer kernel here and cannot run in float: {error.reason}; {WAY_OUT}"
        ) from None
