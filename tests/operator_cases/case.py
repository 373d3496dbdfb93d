"""A float graph whose operators are held to their integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnx


@dataclass(frozen=True)
class Case:
    """`body` makes y from x.

    steps: how far the integers may be from the QDQ model's; more than one where roundings follow each other, as the
    second scales what the first is off. int16_steps: the same of int16; where nothing is said, one more, as lines
    between codes may be a step beyond rounding.
    """

    body: str
    inputs: str = "float[1,3,7,6] x"
    weights: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    outputs: str = "float[] y"
    steps: int = 1
    int16_steps: int | None = None
    opset: int = 21

    def model(self, text: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
        """The graph, as the fixture `text` makes it."""
        return text(self.body, self.inputs, self.outputs, self.weights, self.values, self.opset)


CONV = "float[4,3,3,3] w, float[4] b"
LINE = "float[1,4,11] x"
IMAGES = "float[2,4,5,6] x"


def one(body: str, inputs: str = "float[1,3,7,6] x", weights: str = "", values: Any = None, **rest: Any) -> Case:
    return Case(f"y = {body}", inputs, weights, values or {}, **rest)
