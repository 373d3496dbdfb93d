"""Cycles of designs that take a frame after the other, which reports hold, too: nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameCycles:
    """Cycles of a streaming design: from the first beat in to the last beat of its frame out, and between two frames
    that follow each other; simulated, and as a model of its stages has them."""

    first_frame: int
    steady_state: int
    model_first_frame: int
    model_steady_state: int
