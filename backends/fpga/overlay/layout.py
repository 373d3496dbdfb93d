"""Where activations lie in the overlay's memory: words of `lanes` bytes, each pixel's channels from a word of its own
on. What fills a pixel's last word up is multiplied by 0 wherever it is read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PixelLayout:
    """A tensor as pixels of channels."""

    pixels: int
    channels: int

    def depth(self, lanes: int) -> int:
        """Words of a pixel."""
        return -(-self.channels // lanes)

    def words(self, lanes: int) -> int:
        return self.pixels * self.depth(lanes)

    def seen(self, pixels: int, channels: int, lanes: int) -> bool:
        """Whether these are as many pixels of channels just as they lie: where no word is filled up, any may be."""
        whole = self.channels % lanes == 0 and channels % lanes == 0
        return self == PixelLayout(pixels, channels) or (whole and pixels * channels == self.pixels * self.channels)
