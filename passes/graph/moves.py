"""Chains of operators that only move elements: which element of which tensor each element of the result is.

Concat, Reshape, Transpose, Slice and their relatives put elements of their inputs elsewhere and compute nothing. Run on
integers that name the tensors at the start of the chain, onnxruntime itself says where each ends up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime as ort
from numpy.typing import NDArray

PURE_MOVES = frozenset({"Concat", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"})

Origins = NDArray[np.int32]


@dataclass(frozen=True)
class MoveChain:
    """`result` and what it is made of: `nodes` in execution order, which read `leaves` and constants that say where."""

    result: gs.Tensor
    nodes: tuple[gs.Node, ...]
    leaves: tuple[gs.Tensor, ...]
    constants: tuple[gs.Constant, ...] = ()  # what else is put together

    def origins(self) -> Origins:
        """For each element of the result, which of the leaves it comes from: the result's shape.

        Raises ValueError where constants are put together with them.
        """
        if self.constants:
            raise ValueError(f"{self.result.name} is put together of constants, too")
        inputs = {leaf.name: gs.Variable(leaf.name, np.int32, list(leaf.shape)) for leaf in self.leaves}
        known: dict[str, gs.Tensor] = dict(inputs)

        def same(tensor: gs.Tensor) -> gs.Tensor:
            if isinstance(tensor, gs.Constant) or tensor.is_empty():
                return tensor
            return known.setdefault(tensor.name, gs.Variable(tensor.name, np.int32, tensor.shape))

        nodes = [
            gs.Node(one.op, one.name, dict(one.attrs), [*map(same, one.inputs)], [*map(same, one.outputs)])
            for one in self.nodes
        ]
        graph = gs.Graph(nodes, list(inputs.values()), [known[self.result.name]], opset=21, ir_version=10)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised, too
        model = gs.export_onnx(graph, do_type_check=False)
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        feeds = {leaf.name: np.full(leaf.shape, place, np.int32) for place, leaf in enumerate(self.leaves)}
        found: Origins = session.run(None, feeds)[0]
        return found


def find_chain(result: gs.Tensor, starts: Callable[[gs.Tensor], bool]) -> MoveChain | None:
    """The moving operators between `result` and tensors of which `starts` is true and those that something else makes.

    None where there is no such operator.
    """
    constants: list[gs.Constant] = []
    nodes: list[gs.Node] = []
    leaves: dict[str, gs.Tensor] = {}
    done: set[int] = set()

    def visit(tensor: gs.Tensor) -> bool:
        if isinstance(tensor, gs.Constant):
            constants.append(tensor)
            return True
        if tensor.is_empty():
            return False
        node = tensor.inputs[0] if tensor.inputs else None
        if node is None or node.op not in PURE_MOVES or starts(tensor):
            leaves[tensor.name] = tensor
            return True
        if id(node) in done:
            return True
        done.add(id(node))
        moved = node.inputs if node.op == "Concat" else node.inputs[:1]
        if not all(map(visit, moved)) or not all(isinstance(one, gs.Constant) for one in node.inputs[len(moved) :]):
            return False
        nodes.append(node)
        return True

    if not visit(result) or not nodes:
        return None
    return MoveChain(result, tuple(nodes), tuple(leaves.values()), tuple(constants))


def groups_along(origins: Origins, axis: int) -> list[set[int]]:
    """Leaves that have elements at one index along `axis`, in common groups."""
    groups: list[set[int]] = []
    for line in np.moveaxis(origins, axis, 0):
        found = set(np.unique(line).tolist())
        joined = [group for group in groups if group & found]
        groups = [group for group in groups if not group & found] + [found.union(*joined)]
    return groups


def axis_of(labels: NDArray[np.integer]) -> int | None:
    """The axis whose index alone says the label of an element, if there is one."""
    for axis in range(labels.ndim):
        lines = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
        if (lines == lines[:, :1]).all():
            return axis
    return None
