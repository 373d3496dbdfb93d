"""Repeated elements that are read where they lie, instead of being copied.

Grouped queries read each head of keys and values several times: an Expand or Tile, a Reshape that joins groups and
heads, a Transpose (Ainslie et al. 2023, "GQA", section 2.2). A product of two activations reads its factors at strides,
so that a repeated head is one at a stride of 0. An axis is then no longer one stride but several:

    heads [8] of 4, each twice  ==  [4, 2] at strides (s, 0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import onnx_graphsurgeon as gs

from bevel.passes.graph.edit import producer

Factor = tuple[int, int]  # how many, and elements from one to the next
Axis = tuple[Factor, ...]  # the outer ones first

REPEATS = frozenset({"Expand", "Tile"})
MOVES = frozenset({"Reshape", "Transpose"})


@dataclass(frozen=True)
class View:
    """Elements of a buffer, each ONNX axis at one stride or several."""

    buffer: str
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(prod(size for size, _ in axis) for axis in self.axes)

    def repeated(self, shape: Sequence[int]) -> View:
        """As Tile and Expand make `shape`, of the same rank: whole axes, one after the other."""
        times = (to // have for to, have in zip(shape, self.shape, strict=True))
        return View(
            self.buffer, tuple(joined(((count, 0), *axis)) for count, axis in zip(times, self.axes, strict=True))
        )

    def transposed(self, permutation: Sequence[int]) -> View:
        return View(self.buffer, tuple(self.axes[axis] for axis in permutation))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """Under another shape; None where an axis would begin within a stride."""
        left = list(joined(tuple(factor for axis in self.axes for factor in axis)))
        axes: list[Axis] = []
        for size in reversed(shape):
            found: list[Factor] = []
            while size > 1:
                have, stride = left.pop()
                if have > size:
                    if have % size:
                        return None
                    left.append((have // size, stride * size))
                    have = size
                if size % have:
                    return None
                found.insert(0, (have, stride))
                size //= have
            axes.insert(0, joined(tuple(found)))
        return View(self.buffer, tuple(axes))


def joined(axis: Axis) -> Axis:
    """The same elements in as few factors as there can be."""
    found: list[Factor] = []
    for size, stride in axis:
        if size == 1:
            continue
        if found and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        else:
            found.append((size, stride))
    return tuple(found)


def aligned(axes: Sequence[Axis]) -> list[tuple[int, tuple[int, ...]]] | None:
    """One axis of several operands as loops in which each has one stride: (extent, strides), the outer ones first. Of
    one element it is repeated. None where their factors do not divide each other."""
    total = max(prod(size for size, _ in axis) for axis in axes)
    left = [list(axis) if axis else [(total, 0)] for axis in axes]
    loops: list[tuple[int, tuple[int, ...]]] = []
    while total > 1:
        step = min(one[-1][0] for one in left)
        if any(one[-1][0] % step for one in left):
            return None
        loops.insert(0, (step, tuple(one[-1][1] for one in left)))
        for one in left:
            size, stride = one.pop()
            if size > step:
                one.append((size // step, stride * step))
        total //= step
    return loops


def is_read_in_place(repeat: gs.Node, view: View) -> bool:
    """Whether nothing but products reads what a Tile or Expand makes, the other factor of which is not repeated, and
    matrices themselves are not."""
    pending = [(repeat.outputs[0], view)]
    while pending:
        tensor, seen = pending.pop()
        if not tensor.outputs:
            return False
        for reader in tensor.outputs:
            moved = moved_by(reader, seen)
            if moved is not None:
                pending.append((reader.outputs[0], moved))
            elif not multiplies(reader, tensor, seen):
                return False
    return True


def moved_by(node: gs.Node, view: View) -> View | None:
    """What a Reshape or Transpose makes of a view; None where it is another node, or none can be made."""
    if node.domain or node.op not in MOVES:
        return None
    if node.op == "Reshape":
        return view.reshaped(tuple(node.outputs[0].shape))
    rank = len(view.axes)
    return view.transposed([int(axis) for axis in node.attrs.get("perm", range(rank)[::-1])])


def multiplies(node: gs.Node, tensor: gs.Tensor, view: View) -> bool:
    """Whether it is a product of two activations that reads `view` at strides."""
    if not node.domain or node.op != "MatMul" or len(view.axes) < 2:
        return False
    others = [one for one in node.inputs if one is not tensor]
    return len(others) == 1 and not is_repeated(others[0]) and all(len(axis) < 2 for axis in view.axes[-2:])


def is_repeated(tensor: gs.Tensor) -> bool:
    node = producer(tensor)
    while node is not None and not node.domain and node.op in MOVES:
        node = producer(node.inputs[0])
    return node is not None and node.op in REPEATS
