"""A small vision transformer: 16 patches of 2 x 2 pixels and a class token, two blocks of four heads, 32 channels.

The network of Dosovitskiy et al. 2021, "An Image Is Worth 16x16 Words", section 3.1, behind one convolution, where Xiao
et al. 2021, "Early Convolutions Help Transformers See Better", have several, for one grey channel of 8 x 8. Exported by
torch's TorchScript exporter, which leaves what exporters of transformers leave: a class token expanded by arithmetic on
shapes, queries, keys and values cut from one product, heads by Reshape and Transpose, scores scaled behind their
product, GELU spelled in Erf, LayerNormalization as one node.
"""

from __future__ import annotations

from typing import Any

import onnx

from bevel.models import digits

EPOCHS = 80
RATE = 0.006
STEM, PATCH, CHANNELS, HEADS, HIDDEN, BLOCKS = 24, 2, 32, 4, 64, 2
TOKENS = (digits.SHAPE[1] // PATCH) * (digits.SHAPE[2] // PATCH) + 1


def network() -> Any:
    """The untrained torch module: [N, 1, 8, 8] to [N, 10]."""
    torch = digits.optional("torch")
    nn = torch.nn

    class Attention(nn.Module):  # type: ignore[misc, name-defined]  # torch is imported at run time, so untyped
        def __init__(self) -> None:
            super().__init__()
            self.merged = nn.Linear(CHANNELS, 3 * CHANNELS)
            self.out = nn.Linear(CHANNELS, CHANNELS)

        def forward(self, x: Any) -> Any:
            heads = (x.size(0), TOKENS, HEADS, CHANNELS // HEADS)
            q, k, v = (part.reshape(heads).transpose(1, 2) for part in self.merged(x).chunk(3, dim=-1))
            scores = q @ k.transpose(-2, -1) * (CHANNELS // HEADS) ** -0.5
            mixed = scores.softmax(dim=-1) @ v
            return self.out(mixed.transpose(1, 2).reshape(x.size(0), TOKENS, CHANNELS))

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(CHANNELS), nn.LayerNorm(CHANNELS)
            self.attention = Attention()
            self.hidden = nn.Sequential(nn.Linear(CHANNELS, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, CHANNELS))

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.first(x))
            return x + self.hidden(self.second(x))

    class VisionTransformer(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            stem = nn.Conv2d(1, STEM, 3, padding=1), nn.ReLU()
            self.patches = nn.Sequential(*stem, nn.Conv2d(STEM, CHANNELS, PATCH, PATCH))
            self.token = nn.Parameter(torch.zeros(1, 1, CHANNELS))
            self.places = nn.Parameter(0.02 * torch.randn(1, TOKENS, CHANNELS))
            self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
            self.norm = nn.LayerNorm(CHANNELS)
            self.classifier = nn.Linear(CHANNELS, digits.CLASSES)

        def forward(self, x: Any) -> Any:
            pixels = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.size(0), -1, -1), pixels], dim=1) + self.places
            return self.classifier(self.norm(self.blocks(x))[:, 0])

    return VisionTransformer()


def build() -> onnx.ModelProto:
    """The trained network as ONNX. Raises UserError where the extra `train` is not installed."""
    return digits.export_traced(digits.train(network, epochs=EPOCHS, rate=RATE))


if __name__ == "__main__":
    digits.script(lambda: digits.write_network("vit", build))
