"""A recurrent network that reads a digit row by row: an LSTM of 40 units over eight rows of eight pixels.

The cell of Hochreiter and Schmidhuber 1997, "Long Short-Term Memory", with a forget gate. Exported by torch's
TorchScript exporter, which leaves what exporters of recurrent networks leave: the batch moved behind the steps and
back, one tensor of zeros behind arithmetic on shapes for both initial states, the last step taken by a Gather.
"""

from __future__ import annotations

from typing import Any

import onnx

from bevel.models import digits

EPOCHS = 120
RATE = 0.01
UNITS = 40


def network() -> Any:
    """The untrained torch module: [N, 1, 8, 8] to [N, 10]."""
    torch = digits.optional("torch")
    nn = torch.nn

    class Reader(nn.Module):  # type: ignore[misc, name-defined]  # torch is imported at run time, so untyped
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.LSTM(digits.SHAPE[2], UNITS, batch_first=True)
            self.classifier = nn.Linear(UNITS, digits.CLASSES)

        def forward(self, x: Any) -> Any:
            read, _ = self.rows(x.flatten(1, 2))
            return self.classifier(read[:, -1])

    return Reader()


def build() -> onnx.ModelProto:
    """The trained network as ONNX. Raises UserError where the extra `train` is not installed."""
    return digits.export_traced(digits.train(network, epochs=EPOCHS, rate=RATE))


if __name__ == "__main__":
    digits.script(lambda: digits.write_network("lstm", build))
