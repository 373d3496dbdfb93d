"""Text that ships with Python, as numbers of characters: windows of 64 to calibrate on and to judge by.

`pydoc_data.topics` holds the language reference as plain text (PSF licence). It changes a little from one version of
Python to the next: the arrays here are those of 3.11.7, the last tenth of the text to judge by, the rest to train on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.models import FOLDER, data, path

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))  # anything else is read as a blank
TOKENS = 64
SPLITS = {"calib": 64, "eval": 64}
HELD_OUT = 0.1
SEED = 0
Ids = NDArray[np.int64]


def text() -> Ids:
    """Every topic one after the other, by name, as numbers of characters."""
    from pydoc_data.topics import topics

    places = {character: place for place, character in enumerate(CHARACTERS)}
    whole = "\n".join(topics[name] for name in sorted(topics))
    return np.array([places.get(character, places[" "]) for character in whole], np.int64)


def parts() -> tuple[Ids, Ids]:
    """What is trained on, and what is held out."""
    whole = text()
    end = round(len(whole) * (1 - HELD_OUT))
    return whole[:end], whole[end:]


def windows(part: Ids, count: int, seed: int) -> Ids:
    """Cut at random: [count, TOKENS]."""
    firsts = np.random.default_rng(seed).choice(len(part) - TOKENS, count, replace=False)
    return np.stack([part[first : first + TOKENS] for first in firsts])


def load(split: str) -> Ids:
    """ids: int64 [windows, TOKENS]."""
    with np.load(data(split, "topics")) as arrays:
        return np.asarray(arrays["ids"])


def perplexity(model: Path | onnx.ModelProto, ids: Ids) -> float:
    """exp of the mean loss of the next character, by onnxruntime with its optimizations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"ids": ids})
    wide = logits[:, :-1].astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    logs = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return float(np.exp(-np.take_along_axis(logs, ids[:, 1:, np.newaxis], axis=-1).mean()))


def write_network(name: str, make: Callable[[], onnx.ModelProto]) -> None:
    model = make()
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, FOLDER / f"{name}.onnx")
    print(f"{name}: perplexity {perplexity(path(name), load('eval')):.3f} on eval")


def write_data() -> None:
    """Both splits; those to calibrate on are part of what is trained on."""
    for (split, count), part in zip(SPLITS.items(), parts(), strict=True):
        np.savez_compressed(FOLDER / f"topics_{split}.npz", ids=windows(part, count, SEED))


if __name__ == "__main__":
    write_data()
