"""A network that a digit goes through row by row: convolutions that pad columns and no rows, a mean over the rows.

So its results are those of any eight rows that follow each other, and `--step` makes of it a product that takes a row
at a time. The mean over rows alone keeps where in them a stroke is.
"""

from __future__ import annotations

from typing import Any

import onnx

from bevel.models import digits

EPOCHS = 60
RATE = 0.01
CHANNELS = (16, 32)


def network() -> Any:
    """The untrained torch module: [N, 1, 8, 8] to [N, 10]."""
    torch = digits.optional("torch")
    nn = torch.nn

    class Rows(nn.Module):  # type: ignore[misc, name-defined]  # torch is imported at run time, so untyped
        def __init__(self) -> None:
            super().__init__()
            first, second = CHANNELS
            self.layers = nn.Sequential(
                nn.Conv2d(1, first, 3, padding=(0, 1)),
                nn.ReLU(),
                nn.Conv2d(first, first, 3, padding=(0, 1), groups=first),
                nn.ReLU(),
                nn.Conv2d(first, second, 1),
                nn.ReLU(),
            )
            self.classifier = nn.Linear(second * digits.SHAPE[2], digits.CLASSES)

        def forward(self, x: Any) -> Any:
            return self.classifier(self.layers(x).mean(2).flatten(1))

    return Rows()


def build() -> onnx.ModelProto:
    """The trained network as ONNX. Raises UserError where the extra `train` is not installed."""
    return digits.export_traced(digits.train(network, epochs=EPOCHS, rate=RATE))


if __name__ == "__main__":
    digits.script(lambda: digits.write_network("rows", build))
