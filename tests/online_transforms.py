"""Networks for transforms that put something before a product on the device, and such as they leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np

TOKENS = "float[6,8] x"
SILU = "u = MatMul (x, w)\n s = Sigmoid (u)\n h = Mul (u, s)\n y = MatMul (h, d)"
WEIGHTS = "float[8,44] w, float[44,64] d"
RNG = np.random.default_rng(1)
PLAIN = RNG.standard_normal((8, 44))
D = RNG.standard_normal((44, 64))

Left = dict[str, tuple[str, str, str, dict[str, Any]]]  # body, inputs, weights, values


def loud(every: int) -> np.ndarray:
    """Weights that make channel 7 loud, and each that lies a multiple of `every` beside it."""
    return PLAIN * np.where(np.arange(44) % every == 7, 12.0, 1.0)


def model_of(
    text: Any, w: np.ndarray, /, body: str = SILU, inputs: str = TOKENS, weights: str = WEIGHTS, **values: Any
) -> Any:
    names = [name for name in ("z",) if f"{name} = " in body]
    outputs = ", ".join(f"float[] {name}" for name in ("y", *names))
    return text(body, inputs, outputs, weights, {"w": w, "d": D} | values, 23)


def left(w: np.ndarray) -> Left:
    return {
        "more work than the gain is worth": (SILU, TOKENS, WEIGHTS.replace("[44,64]", "[44,1]"), {"d": D[:, :1]}),
        "the model's input": ("y = MatMul (x, d)", "float[6,44] x", "float[44,64] d", {}),
        "weights that are computed": (
            SILU.replace("(h, d)", "(h, e)"),
            f"{TOKENS}, float[44,64] e",
            WEIGHTS.replace(", float[44,64] d", ""),
            {},
        ),
        "a convolution": (
            "c = Conv (x, w)\n r = Relu (c)\n y = Conv (r, d)",
            "float[1,8,5,5] x",
            "float[44,8,1,1] w, float[64,44,1,1] d",
            {"w": w.T[:, :, None, None], "d": D.T[:, :, None, None]},
        ),
    }
