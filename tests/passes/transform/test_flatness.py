"""Figures of flatness are those of known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from bevel.passes.transform.flatness import flatness, log_qsur

RNG = np.random.default_rng(3)


def test_two_values_a_gaussian_and_zeros() -> None:
    assert flatness(np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])).peak == 1
    gauss = flatness(RNG.standard_normal((40000, 2)))
    assert gauss.kurtosis == pytest.approx(3, abs=0.1)  # the standard error of a sample of so many: sqrt(24 / n)
    assert flatness(np.zeros((9, 3))).peak is None


def test_qsur_knows_no_size_and_falls_with_an_outlier_channel() -> None:
    x = RNG.standard_normal((5000, 8))
    assert log_qsur(1000 * x) == pytest.approx(log_qsur(x))
    loud = x * np.array([30, 1, 1, 1, 1, 1, 1, 1])
    assert log_qsur(loud) < log_qsur(x) - 2  # ln(30) (1 - 1 / 8), but for where extremes fall
    turned = loud @ np.linalg.qr(RNG.standard_normal((8, 8)))[0]
    assert log_qsur(turned) > log_qsur(loud)


def test_too_few_vectors_have_no_covariance() -> None:
    assert log_qsur(RNG.standard_normal((4, 8))) is None
