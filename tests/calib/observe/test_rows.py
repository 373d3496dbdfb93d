"""Rows times matrices of weights are what onnxruntime makes of every product, and moments tell its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevel.calib.observe.moments import Moments
from bevel.calib.observe.rows import Along, Patches, Rows, transposed

ROUNDING = 1e-5  # onnxruntime's float32


def product(op: str, x: np.ndarray, w: np.ndarray, **attributes: Any) -> np.ndarray:
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", x.shape), ("y", None))
    ]
    node = helper.make_node(op, ["x", "w"], ["y"], **attributes)
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (y,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return np.asarray(y)


def convolution(rows: Patches, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return product("Conv", x, w, strides=rows.strides, dilations=rows.dilations, pads=rows.pads, group=rows.groups)


def normals(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def check(rows: Rows, x: np.ndarray, w: np.ndarray, y: np.ndarray) -> None:
    places = np.sort(np.random.default_rng(0).permutation(rows.count(y.shape))[: max(2, rows.count(y.shape) // 2)])
    matrices = rows.matrices(w)
    np.testing.assert_allclose(rows.read(x, places) @ matrices, rows.made(y, places), atol=ROUNDING)
    np.testing.assert_array_equal(rows.weights(matrices, w.shape), w)


CONVOLUTIONS = [
    (Patches((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)), (2, 4, 6, 7)),
    (Patches((3, 2), (2, 1), (1, 2), (0, 1, 2, 0), 2), (2, 4, 8, 7)),
    (Patches((3, 3), (2, 2), (1, 1), (0, 0, 1, 1), 4), (2, 4, 6, 6)),
    (Patches((4,), (2,), (2,), (3, 3)), (2, 3, 11)),
]


@pytest.mark.parametrize(("rows", "shape"), CONVOLUTIONS)
def test_patches_times_weights_are_the_convolution(rows: Patches, shape: tuple[int, ...]) -> None:
    x, w = normals(*shape), normals(2 * rows.groups, shape[1] // rows.groups, *rows.kernel)
    check(rows, x, w, convolution(rows, x, w))


@pytest.mark.parametrize("more", [(0, 0), (1, 0)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 2, 3, 0)])
@pytest.mark.parametrize("dilations", [(1, 1), (1, 2)])
def test_patches_between_zeros_times_weights_are_the_transposed_convolution(
    dilations: tuple[int, ...], pads: tuple[int, ...], groups: int, more: tuple[int, ...]
) -> None:
    """Pads of 3 beyond a kernel that reaches 2 cut pixels off."""
    x, w = normals(2, 4, 5, 6), normals(4, 3, 3, 2)
    rows = transposed((3, 2), (2, 3), dilations, pads, more, groups)
    given = {"strides": (2, 3), "dilations": dilations, "pads": pads, "output_padding": more, "group": groups}
    check(rows, x, w, product("ConvTranspose", x, w, **given))


def test_rows_of_matrix_products_lie_along_the_last_axis() -> None:
    x = normals(2, 3, 5)
    check(Along(), x, normals(5, 4), product("MatMul", x, normals(5, 4)))
    check(Along(turned=True), x[0], normals(4, 5), product("Gemm", x[0], normals(4, 5), transB=1))


def test_moments_tell_the_error_of_other_weights_and_of_a_shift() -> None:
    rows, x, w = Patches((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 2), normals(5, 4, 6, 6), normals(6, 2, 3, 3)
    y, other = convolution(rows, x, w), w + 0.1 * normals(6, 2, 3, 3)
    shift = np.linspace(-1, 1, 6).reshape(2, 3)
    error = y - convolution(rows, x, other) - shift.reshape(1, 6, 1, 1)
    everything = np.arange(rows.count(y.shape))
    moments = Moments.of(rows.read(x, everything), rows.made(y, everything))
    found = moments.error(rows.matrices(other).astype(np.float64), shift)
    np.testing.assert_allclose(
        found.ravel(), np.square(error).mean((0, 2, 3)), rtol=1e-3
    )  # of differences of values that are rounded to 18 bits
    best = moments.shift(rows.matrices(other).astype(np.float64))
    np.testing.assert_allclose(best.ravel(), (y - convolution(rows, x, other)).mean((0, 2, 3)), atol=ROUNDING)


def test_sums_do_not_hang_on_the_order_of_rows() -> None:
    """To the last bit, as machines with more threads add in another order."""
    x, y, order = normals(2, 4096, 5), normals(2, 4096, 3), np.random.default_rng(0).permutation(4096)
    one, other = Moments.of(x, y), Moments.of(x[:, order], y[:, order])
    for name in ("second", "cross", "x_mean", "y_mean", "y_power"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_moments_of_parts_add_up() -> None:
    x, y = normals(2, 40, 5), normals(2, 40, 3)
    whole, parts = Moments.of(x, y), Moments.of(x[:, :30], y[:, :30]) + Moments.of(x[:, 30:], y[:, 30:])
    assert parts.count == whole.count == 40
    for name in ("second", "cross", "x_mean", "y_mean", "y_power"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=ROUNDING)
    np.testing.assert_allclose(whole.second, np.einsum("grk,grl->gkl", x, x) / 40, atol=ROUNDING)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("of_inputs", [True, False])
def test_moments_of_what_is_not_finite_are_not_finite_whatever_is_added(bad: float, of_inputs: bool) -> None:
    x, y = np.eye(4, 3, dtype=np.float32)[np.newaxis], np.ones((1, 4, 2), np.float32)
    whole = Moments.of(x, y)
    (x if of_inputs else y)[0, 1, 1] = bad
    broken = Moments.of(x, y)
    assert whole.finite and not broken.finite and not (whole + broken).finite and not (broken + broken).finite
