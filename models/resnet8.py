"""ResNet-8: three stages of one residual block each, 16, 32 and 64 channels, with 1x1 convolutions as shortcuts.

The shape of the image classification network of Banbury et al. 2021, "MLPerf Tiny Benchmark", section 3.3 (He et al.
2016 cut to eight layers), for one grey channel of 8 x 8. Exported by torch's dynamo exporter at its defaults: it folds
each BatchNormalization into its convolution, and spells the pooling as a ReduceMean and the flattening as a Reshape.
"""

from __future__ import annotations

from typing import Any

import onnx

from bevel.models import digits

EPOCHS = 40


def network() -> Any:
    """The untrained torch module: [N, 1, 8, 8] to [N, 10]."""
    nn = digits.optional("torch.nn")

    def conv(inputs: int, outputs: int, size: int, stride: int = 1) -> Any:
        convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    class Residual(nn.Module):  # type: ignore[misc, name-defined]  # torch is imported at run time, so untyped
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(conv(inputs, outputs, 3, stride), nn.ReLU(), conv(outputs, outputs, 3))
            self.shortcut = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1, stride)
            self.relu = nn.ReLU()

        def forward(self, x: Any) -> Any:
            return self.relu(self.body(x) + self.shortcut(x))

    class ResNet8(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            stages = (Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2))
            self.features = nn.Sequential(conv(1, 16, 3), nn.ReLU(), *stages, nn.AdaptiveAvgPool2d(1))
            self.classifier = nn.Linear(64, digits.CLASSES)

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x).flatten(1))

    return ResNet8()


def export(trained: Any) -> onnx.ModelProto:
    """`trained` as the dynamo exporter writes it, opset 18, with the batch left open."""
    torch = digits.optional("torch")
    digits.optional("onnxscript")  # torch misses it late, with a traceback
    program = torch.onnx.export(
        trained,
        (torch.zeros(2, *digits.SHAPE),),
        dynamo=True,
        opset_version=18,
        input_names=[digits.INPUT],
        output_names=[digits.OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    model: onnx.ModelProto = program.model_proto
    return model


def build() -> onnx.ModelProto:
    """The trained network as ONNX. Raises UserError where the extra `train` is not installed."""
    return export(digits.train(network, epochs=EPOCHS))


if __name__ == "__main__":
    digits.script(lambda: digits.write_network("resnet8", build))
