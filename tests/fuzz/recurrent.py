"""How recurrent networks are drawn: directions, states, functions, and everything else that their nodes may say."""

from __future__ import annotations

from typing import Any

from bevel.calib.arithmetic.float_cell import GATES
from bevel.passes.canonicalize.unify_recurrent import DEFAULTS
from fuzz.builder import Builder, Draw, Value

OTHERS = ("Tanh", "Sigmoid", "Relu", "HardSigmoid", "Softsign")


def recurrent(op: str) -> Draw:
    def draw(b: Builder) -> list[Value]:
        x = b.pick(3)
        direction = b.choose(["forward", "forward", "reverse", "bidirectional"])
        ways, hidden = 1 + (direction == "bidirectional"), b.whole(1, 5)
        rows = GATES[op] * hidden
        inputs: list[Value | str] = [x, b.weight([ways, rows, x.shape[2]], 0.6), b.weight([ways, rows, hidden], 0.6)]
        inputs.append(b.weight([ways, 2 * rows], 0.3) if b.chance(0.6) else "")
        inputs += ["", *states(b, op, [ways, x.shape[1], hidden])]
        if op == "LSTM" and b.chance(0.2):
            inputs.append(b.weight([ways, 3 * hidden], 0.4))
        while not inputs[-1]:
            inputs.pop()
        return b.node(op, inputs, b.whole(1, 3 if op == "LSTM" else 2), **attributes(b, op, direction, hidden))

    return draw


def states(b: Builder, op: str, shape: list[int]) -> list[Value | str]:
    """Initial ones, constant, computed, or left out."""
    found: list[Value | str] = []
    for _ in range(2 if op == "LSTM" else 1):
        known = [one for one in b.values if list(one.shape) == shape]
        found.append(b.choose(known) if known and b.chance(0.5) else b.weight(shape, 0.5) if b.chance(0.3) else "")
    return found


def attributes(b: Builder, op: str, direction: str, hidden: int) -> dict[str, Any]:
    found: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if b.chance(0.2):
        ways = 1 + (direction == "bidirectional")
        found["activations"] = [b.choose([name, *OTHERS]) for name in DEFAULTS[op] * ways]
    if b.chance(0.15):
        found["clip"] = float(b.choose([0.5, 2.0, 20.0]))
    if op == "GRU" and b.chance(0.5):
        found["linear_before_reset"] = 1
    if op == "LSTM" and b.chance(0.2):
        found["input_forget"] = 1
    return found
