"""How `decoder` is trained: its forward pass, the gradients of every weight, and Adam, in numpy.

Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", algorithm 1, at a rate that rises and then falls along
a cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevel.models import topics

LAYERS, CHANNELS, HEADS, GROUPS, WIDTH, HIDDEN = 2, 48, 6, 2, 8, 128
EPSILON, BASE = 1e-5, 10000.0
STEPS, BATCH, RATE, WARM = 2000, 24, 4e-3, 100
SEED = 0
Reals = NDArray[Any]  # float32
Weights = dict[str, Reals]


def rotary_tables(tokens: int) -> tuple[Reals, Reals]:
    """cos and sin, [tokens, WIDTH]: both halves of a head turn by the same angles."""
    frequencies = BASE ** (-np.arange(WIDTH // 2) / (WIDTH // 2))
    angles = np.tile(np.outer(np.arange(tokens), frequencies), 2)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


COS, SIN = rotary_tables(topics.TOKENS)
SEEN = np.tril(np.ones((topics.TOKENS, topics.TOKENS), bool))


def initial() -> Weights:
    rng = np.random.default_rng(SEED)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Reals:
        found: Reals = (rng.standard_normal((rows, columns)) * scale * rows**-0.5).astype(np.float32)
        return found

    found = {"embedding": (0.5 * rng.standard_normal((len(topics.CHARACTERS), CHANNELS))).astype(np.float32)}
    for layer in range(LAYERS):
        found |= {f"{name}{layer}_gain": np.ones(CHANNELS, np.float32) for name in ("first", "second")}
        found[f"q{layer}_weights"] = matrix(CHANNELS, HEADS * WIDTH)
        found |= {f"{name}{layer}_weights": matrix(CHANNELS, GROUPS * WIDTH) for name in ("k", "v")}
        found[f"out{layer}_weights"] = matrix(HEADS * WIDTH, CHANNELS, 0.5)
        found |= {f"{name}{layer}_weights": matrix(CHANNELS, HIDDEN) for name in ("gate", "up")}
        found[f"down{layer}_weights"] = matrix(HIDDEN, CHANNELS, 0.5)
    return found | {"last_gain": np.full(CHANNELS, 0.5, np.float32)}


@dataclass
class Tape:
    """Weights, and what their gradients have come to."""

    weights: Weights
    gradients: Weights

    def product(self, x: Reals, name: str) -> Reals:
        return x @ self.weights[name]

    def back(self, x: Reals, name: str, dy: Reals) -> Reals:
        self.gradients[name] += x.reshape(-1, x.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
        return dy @ self.weights[name].T

    def norm(self, x: Reals, name: str) -> tuple[Reals, Reals]:
        root = 1 / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        return x * root * self.weights[name], root

    def norm_back(self, x: Reals, root: Reals, name: str, dy: Reals) -> Reals:
        self.gradients[name] += (dy * x * root).sum(axis=(0, 1))
        scaled = dy * self.weights[name]
        found: Reals = root * (scaled - x * np.square(root) * (scaled * x).mean(axis=-1, keepdims=True))
        return found


def turned(x: Reals) -> Reals:
    """rotate_half"""
    lower, upper = np.split(x, 2, axis=-1)
    return np.concatenate([-upper, lower], axis=-1)


def rotated(x: Reals, back: bool = False) -> Reals:
    return x * COS - turned(x * SIN) if back else x * COS + turned(x) * SIN


def by_head(x: Reals, count: int) -> Reals:
    """[batch, tokens, count * WIDTH] as [batch, GROUPS, count / GROUPS, tokens, WIDTH]."""
    return x.reshape(*x.shape[:2], GROUPS, count // GROUPS, WIDTH).transpose(0, 2, 3, 1, 4)


def by_token(x: Reals) -> Reals:
    """`by_head` undone."""
    return x.transpose(0, 3, 1, 2, 4).reshape(x.shape[0], x.shape[3], -1)


class LayerPart:
    """Of one layer: `backward` gives the gradient of what `forward` was given, and adds those of weights to `tape`."""

    def __init__(self, tape: Tape, layer: int) -> None:
        self.tape, self.layer = tape, layer


class Attention(LayerPart):
    def forward(self, x: Reals) -> Reals:
        tape, layer = self.tape, self.layer
        self.x = x
        self.q = rotated(by_head(tape.product(x, f"q{layer}_weights"), HEADS))
        self.k = rotated(by_head(tape.product(x, f"k{layer}_weights"), GROUPS))
        self.v = by_head(tape.product(x, f"v{layer}_weights"), GROUPS)
        scores = np.where(SEEN, self.q @ self.k.swapaxes(-1, -2) * np.float32(WIDTH**-0.5), np.float32(-1e9))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        self.shares = shares / shares.sum(axis=-1, keepdims=True)
        self.joined = by_token(self.shares @ self.v)
        return tape.product(self.joined, f"out{layer}_weights")

    def backward(self, dy: Reals) -> Reals:
        tape, layer = self.tape, self.layer
        together = by_head(tape.back(self.joined, f"out{layer}_weights", dy), HEADS)
        dv = (self.shares.swapaxes(-1, -2) @ together).sum(axis=2, keepdims=True)
        dshares = together @ self.v.swapaxes(-1, -2)
        dscores = self.shares * (dshares - (dshares * self.shares).sum(axis=-1, keepdims=True))
        dscores = dscores * np.float32(WIDTH**-0.5)
        dq = rotated(dscores @ self.k, back=True)
        dk = rotated((dscores.swapaxes(-1, -2) @ self.q).sum(axis=2, keepdims=True), back=True)
        parts = (("q", dq), ("k", dk), ("v", dv))
        found = [tape.back(self.x, f"{name}{layer}_weights", by_token(one)) for name, one in parts]
        return found[0] + found[1] + found[2]


class FeedForward(LayerPart):
    def forward(self, x: Reals) -> Reals:
        tape, layer = self.tape, self.layer
        self.x = x
        self.gate, self.up = (tape.product(x, f"{name}{layer}_weights") for name in ("gate", "up"))
        self.sigmoid = 1 / (1 + np.exp(-self.gate))
        return tape.product(self.gate * self.sigmoid * self.up, f"down{layer}_weights")

    def backward(self, dy: Reals) -> Reals:
        tape, layer, silu = self.tape, self.layer, self.gate * self.sigmoid
        hidden = tape.back(silu * self.up, f"down{layer}_weights", dy)
        dgate = hidden * self.up * (self.sigmoid + silu * (1 - self.sigmoid))
        return tape.back(self.x, f"gate{layer}_weights", dgate) + tape.back(self.x, f"up{layer}_weights", hidden * silu)


def loss_and_gradients(weights: Weights, ids: topics.Ids) -> tuple[float, Weights]:
    """The mean loss of the next character over all windows, and its gradients."""
    tape = Tape(weights, {name: np.zeros_like(values) for name, values in weights.items()})
    x = weights["embedding"][ids]
    done: list[tuple[Attention | FeedForward, str, Reals, Reals]] = []
    for layer in range(LAYERS):
        for part, which in ((Attention(tape, layer), "first"), (FeedForward(tape, layer), "second")):
            name = f"{which}{layer}_gain"
            normed, root = tape.norm(x, name)
            done.append((part, name, x, root))
            x = x + part.forward(normed)
    last, root = tape.norm(x, "last_gain")
    logits = last @ weights["embedding"].T
    logits -= logits.max(axis=-1, keepdims=True)
    shares = np.exp(logits)
    shares /= shares.sum(axis=-1, keepdims=True)
    wanted = ids[:, 1:, np.newaxis]
    loss = float(-np.log(np.take_along_axis(shares[:, :-1], wanted, axis=-1)).mean())
    np.put_along_axis(shares[:, :-1], wanted, np.take_along_axis(shares[:, :-1], wanted, axis=-1) - 1, axis=-1)
    shares[:, -1] = 0
    shares /= np.float32(wanted.size)
    tape.gradients["embedding"] += shares.reshape(-1, shares.shape[-1]).T @ last.reshape(-1, CHANNELS)
    dx = tape.norm_back(x, root, "last_gain", shares @ weights["embedding"])
    for part, name, before, root in reversed(done):
        dx = dx + tape.norm_back(before, root, name, part.backward(dx))
    np.add.at(tape.gradients["embedding"], ids, dx)
    return loss, tape.gradients


def trained() -> Weights:
    """After STEPS steps of Adam on windows cut at random."""
    weights, (part, _) = initial(), topics.parts()
    rng = np.random.default_rng(SEED)
    first = {name: np.zeros_like(values) for name, values in weights.items()}
    second = {name: np.zeros_like(values) for name, values in weights.items()}
    for step in range(1, STEPS + 1):
        starts = rng.integers(0, len(part) - topics.TOKENS, BATCH)
        _, gradients = loss_and_gradients(weights, np.stack([part[one : one + topics.TOKENS] for one in starts]))
        rate = RATE * min(step / WARM, 0.5 * (1 + np.cos(np.pi * step / STEPS)))
        for name, gradient in gradients.items():
            first[name] += 0.1 * (gradient - first[name])
            second[name] += 0.01 * (np.square(gradient) - second[name])
            mean, spread = first[name] / (1 - 0.9**step), second[name] / (1 - 0.99**step)
            weights[name] = (weights[name] - rate * mean / (np.sqrt(spread) + 1e-8)).astype(np.float32)
    return weights
