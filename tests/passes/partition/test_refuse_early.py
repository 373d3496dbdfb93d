"""A node that no data could bring into integers is refused before any data are read."""

from __future__ import annotations

import onnx
import pytest

from bevel.backends.target import load
from bevel.backends.tir import importer
from bevel.calib.errors import UserError
from bevel.passes.base import Work
from bevel.passes.canonicalize import canonicalize
from bevel.passes.partition.refuse_early import RefuseEarly

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'


def work(text: str, target: str = "cortex-m7") -> Work:
    model = onnx.parser.parse_model(HEADER + text)
    for node in model.graph.node:
        node.name = f"the_{node.output[0]}"
    return Work(canonicalize(model)[0], load(target))


def test_a_node_without_a_kernel_is_named_with_where_to_cut() -> None:
    text = "g (float[1,8] x) => (float[1,8] z) <int64 axis = {1}> { y = Relu (x) z = CumSum (y, axis) }"
    with pytest.raises(UserError, match=r"the_z \(CumSum\).*--outputs-at y$"):
        RefuseEarly(importer)(work(text))
    assert not RefuseEarly(importer)(work(text, "host")).modified


@pytest.mark.parametrize(
    "text",
    [
        "g (float[1,8] x) => (float[1,8] z) { y = Relu (x) z = Sigmoid (y) }",
        "g (float[1,8] x) => (float[8,1] z) { y = Exp (x) z = Transpose <perm = [1,0]> (y) }",
        "g (float[1,8] x) => (int64[1,1] z) { z = ArgMax <axis = 1> (x) }",
        "g (float[1,8] x) => (float[1,8] z) { z = Identity (x) }",
    ],
)
def test_what_has_a_kernel_passes(text: str) -> None:
    assert not RefuseEarly(importer)(work(text)).modified
