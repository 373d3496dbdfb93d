"""`--inputs uint8`: a model of raw pixels takes a camera's frame; one of other numbers is refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bevel.tools.command.optimize import main
from bevel.tools.run import vectors

COMMAND = ("--target", "cortex-m4", "--inputs", "uint8")


def run(folder: Path, calib: str = "pixels.npz") -> int:
    return main([str(folder / "model.onnx"), *COMMAND, "--calib", str(folder / calib), "-o", str(folder / "out")])


def save_pixels(folder: Path, dtype: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 2, 6, 6)).astype(dtype)
    np.savez(folder / "pixels.npz", allow_pickle=False, image=pixels)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_pixels_of_any_type_calibrate_a_product_that_takes_uint8(inputs: Path, dtype: str) -> None:
    save_pixels(inputs, dtype)
    assert run(inputs) == 0
    header = (inputs / "out" / "model.h").read_text()
    assert "uint8_t *model_input_image(void *arena)" in header and "model_get_output(" in header
    assert vectors.load(inputs / "out").inputs["image"].dtype == np.uint8


def test_other_numbers_are_refused_with_the_first(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(inputs, "calib.npz") == 2
    assert "integers of 0 to 255" in (text := capsys.readouterr().err) and "input 'image' holds " in text
    assert not (inputs / "out").exists()


def test_values_beyond_a_pixel_are_refused(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(inputs / "pixels.npz", allow_pickle=False, image=np.full((4, 2, 6, 6), 256.0, np.float32))
    assert run(inputs) == 2
    assert "input 'image' holds 256;" in capsys.readouterr().err
