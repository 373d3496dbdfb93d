"""A small MobileNet: a convolution, then five depthwise-separable blocks to 128 channels, all with BatchNorm and ReLU6.

The block of Howard et al. 2017, "MobileNets", section 3.1, with the ReLU6 of its released networks, for one grey
channel of 8 x 8. Exported by torch's TorchScript exporter with BatchNormalization left as nodes, the bounds of ReLU6
as Constant nodes, and the flattening as arithmetic on shapes: most ONNX files of past years look like this, and what
folding them leaves (depthwise channels scaled by their own variance) is what int8 finds hardest.
"""

from __future__ import annotations

from typing import Any

import onnx

from bevel.models import digits

EPOCHS = 40
BLOCKS = ((16, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1))  # inputs, outputs, stride


def network() -> Any:
    """The untrained torch module: [N, 1, 8, 8] to [N, 10]."""
    nn = digits.optional("torch.nn")

    def conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> list[Any]:
        convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(outputs), nn.ReLU6()]

    layers = conv(1, 16, 3)
    for inputs, outputs, stride in BLOCKS:
        layers += [*conv(inputs, inputs, 3, stride, groups=inputs), *conv(inputs, outputs, 1)]

    class MobileNet(nn.Module):  # type: ignore[misc, name-defined]  # torch is imported at run time, so untyped
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
            self.classifier = nn.Linear(BLOCKS[-1][1], digits.CLASSES)

        def forward(self, x: Any) -> Any:
            x = self.features(x)
            return self.classifier(x.view(x.size(0), -1))

    return MobileNet()


def export(trained: Any) -> onnx.ModelProto:
    """`trained` as `digits.export_traced` has it, with BatchNormalization as nodes.

    The exporter folds BatchNormalization when it is told that the network is for inference; preserving the mode of a
    network that already is in eval mode gives inference nodes, unfolded.
    """
    torch = digits.optional("torch")
    return digits.export_traced(trained, training=torch.onnx.TrainingMode.PRESERVE)


def build() -> onnx.ModelProto:
    """The trained network as ONNX. Raises UserError where the extra `train` is not installed."""
    return export(digits.train(network, epochs=EPOCHS))


if __name__ == "__main__":
    digits.script(lambda: digits.write_network("mobilenet", build))
