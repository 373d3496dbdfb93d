"""The data the reference networks share, how they are trained on it, and how their accuracy is counted.

The data are scikit-learn's digits: 1797 handwritten digits, 8 x 8 pixels of 0..16 ink, a copy of the test set of
Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
One seeded permutation cuts them into 500 for `eval` and 1297 to train on; `calib` is 256 of the latter, because a
user calibrates on data the network may have seen and is judged on data it has not.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from bevel.calib.errors import UserError
from bevel.calib.extras import to_install
from bevel.models import FOLDER, data

SEED = 20
EVAL_SAMPLES = 500
CALIB_SAMPLES = 256
CLASSES = 10
INPUT = "image"
OUTPUT = "logits"
SHAPE = (1, 8, 8)
BATCH = 64


@dataclass(frozen=True)
class DigitSamples:
    """`image` float32 [N, 1, 8, 8], ink shifted and scaled to mean 0 and variance 1; `y` int64 [N], the digit."""

    image: NDArray[np.float32]
    y: NDArray[np.int64]

    def __getitem__(self, chosen: slice) -> DigitSamples:
        return DigitSamples(self.image[chosen], self.y[chosen])


def load(split: str) -> DigitSamples:
    """The committed arrays of `calib` or `eval`. Raises UserError for another name."""
    with np.load(data(split)) as arrays:
        return DigitSamples(arrays[INPUT], arrays["y"])


def cut() -> dict[str, DigitSamples]:
    """The splits `train`, `eval` and `calib` (the first samples of `train`) from scikit-learn's copy.

    The mean and deviation that normalise all of them are those of `train`. Raises UserError without scikit-learn.
    """
    digits = optional("sklearn.datasets").load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    ink = digits.images[order].reshape(-1, *SHAPE)
    seen = ink[EVAL_SAMPLES:]
    samples = DigitSamples(((ink - seen.mean()) / seen.std()).astype(np.float32), digits.target[order].astype(np.int64))
    train = samples[slice(EVAL_SAMPLES, None)]
    return {"train": train, "eval": samples[:EVAL_SAMPLES], "calib": train[:CALIB_SAMPLES]}


def train(make: Callable[[], Any], *, epochs: int, rate: float = 0.01) -> Any:
    """The torch module `make()` builds, trained on the `train` split and put in eval mode.

    Images [N, 1, 8, 8] in, logits [N, 10] out. One thread and deterministic kernels: the same weights on every run
    of one machine and torch wheel. AdamW (Loshchilov and Hutter 2019) under the one-cycle schedule of Smith and
    Topin 2018, of which `rate` is the top, each batch moved by up to one pixel. Raises UserError without torch.
    """
    torch = optional("torch")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    network, samples = make(), cut()["train"]
    steps = len(samples.y) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=epochs * steps)
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    network.train()
    for _ in range(epochs):
        for chosen in np.array_split(rng.permutation(len(samples.y)), steps):
            image = moved(samples.image[chosen], *rng.integers(-1, 2, size=2))
            optimizer.zero_grad()
            loss(network(torch.from_numpy(image)), torch.from_numpy(samples.y[chosen])).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def export_traced(trained: Any, **more: Any) -> onnx.ModelProto:
    """`trained` as torch's TorchScript exporter writes it, opset 17, with the batch left open. more: for the exporter.

    Raises UserError without torch.
    """
    torch = optional("torch")
    file = io.BytesIO()
    torch.onnx.export(
        trained,
        (torch.zeros(2, *SHAPE),),
        file,
        dynamo=False,
        opset_version=17,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        **more,
    )
    return onnx.load_from_string(file.getvalue())


def moved(image: NDArray[np.float32], down: int, right: int) -> NDArray[np.float32]:
    """`image` [N, 1, H, W] moved by `down` and `right` in -1..1 pixels, blank paper moving in."""
    height, width = image.shape[2:]
    paper = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=image.min())
    return np.ascontiguousarray(paper[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width])


def correct(model: Path | onnx.ModelProto, samples: DigitSamples) -> int:
    """How many samples get their largest logit at `y`, in onnxruntime with every graph optimisation off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT], {INPUT: samples.image})
    return int(np.count_nonzero(logits.argmax(axis=1) == samples.y))


def without_sources(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` without docstrings and metadata: exporters put the paths and lines of their callers there."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    graph = bare.graph
    for entry in (bare, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    return bare


def optional(module: str) -> Any:
    """The module `module` of the extra `train`. Raises UserError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        missing = module.partition(".")[0]
        raise UserError(f"{missing} is not installed ({error}); {to_install('train')} brings it") from error


def script(main: Callable[[], None]) -> None:
    """`main()` as a command: the user's mistakes end in one line and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def write_network(name: str, make: Callable[[], onnx.ModelProto]) -> None:
    """Train and export with `make`, write `<name>.onnx` beside this file, and print its size and accuracy."""
    model = without_sources(make())
    onnx.checker.check_model(model, full_check=True)
    file, samples = FOLDER / f"{name}.onnx", load("eval")
    onnx.save(model, file)
    print(f"{file.name}: {file.stat().st_size} bytes, {correct(file, samples)} of {len(samples.y)} correct")


def write_data() -> None:
    """Write `digits_calib.npz` and `digits_eval.npz` beside this file and print their sizes and ranges."""
    splits = cut()
    for split in ("calib", "eval"):
        image, y = splits[split].image, splits[split].y
        np.savez_compressed(FOLDER / f"digits_{split}.npz", image=image, y=y)
        print(f"digits_{split}.npz: {len(y)} samples, {image.min():.4f} to {image.max():.4f}")


if __name__ == "__main__":
    script(write_data)
