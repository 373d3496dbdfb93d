"""The functions of recurrent networks' gates: ONNX's, by name, with the range beyond which each no longer changes.

Source: ONNX's operators LSTM, GRU and RNN, which list the functions and their formulas. Parameters that are left out
are those of onnxruntime 1.32: 0 for Affine, ScaledTanh and ThresholdedRelu, where ONNX names no number or another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The formula, and the defaults of the parameters that it has.
FORMULAS: dict[str, tuple[Callable[[Floats, float, float], Floats], float | None, float | None]] = {
    "Sigmoid": (lambda x, a, b: 0.5 * (1 + np.tanh(x / 2)), None, None),
    "Tanh": (lambda x, a, b: np.tanh(x), None, None),
    "Relu": (lambda x, a, b: np.maximum(x, 0), None, None),
    "Affine": (lambda x, a, b: a * x + b, 0.0, 0.0),
    "LeakyRelu": (lambda x, a, b: np.where(x < 0, a * x, x), 0.01, None),
    "ThresholdedRelu": (lambda x, a, b: np.where(x > a, x, 0), 0.0, None),
    "ScaledTanh": (lambda x, a, b: a * np.tanh(b * x), 0.0, 0.0),
    "HardSigmoid": (lambda x, a, b: np.clip(a * x + b, 0, 1), 0.2, 0.5),
    "Elu": (lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), x), 1.0, None),
    "Softsign": (lambda x, a, b: x / (1 + np.abs(x)), None, None),
    "Softplus": (lambda x, a, b: np.logaddexp(0, x), None, None),
}
SPELLED = {name.lower(): name for name in FORMULAS}  # onnxruntime takes any spelling
SATURATED = {"Sigmoid": 16.0, "Tanh": 8.0}  # 1 - sigmoid(16) is 2**-23, 1 - tanh(8) is 2**-22: nothing to int16


@dataclass(frozen=True)
class GateFunction:
    """A function by its name; parameters that it has not are 0."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def __call__(self, x: NDArray[Any]) -> Floats:
        return np.asarray(FORMULAS[self.name][0](np.asarray(x, np.float64), self.alpha, self.beta), np.float64)

    @property
    def domain(self) -> float | None:
        """The least d for which it is constant, to an int16, outside [-d, d]; None where it goes on changing."""
        match self.name:
            case "HardSigmoid" if self.alpha:
                return max(abs(self.beta), abs(1 - self.beta)) / abs(self.alpha)
            case "ScaledTanh" if self.beta:
                return SATURATED["Tanh"] / abs(self.beta)
        return SATURATED.get(self.name)


def gate_functions(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> tuple[GateFunction, ...]:
    """The functions of a node's `activations`: those that have a parameter take the next of the list, or the default,
    as the float32 that attributes are.

    Raises KeyError for a name that ONNX has not.
    """
    left = [list(alphas), list(betas)]
    found = []
    for name in names:
        spelled = SPELLED[name.lower()]
        _, *defaults = FORMULAS[spelled]
        taken = [
            0.0 if default is None else float(np.float32(given.pop(0) if given else default))
            for given, default in zip(left, defaults, strict=True)
        ]
        found.append(GateFunction(spelled, *taken))
    return tuple(found)
