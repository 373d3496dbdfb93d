"""What a metric says of a format, on networks whose answer is known or can be computed another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest

from bevel.calib.errors import UserError
from bevel.calib.observe.observe import observe
from bevel.passes.assign.curvature import curvature
from bevel.passes.assign.divergence import divergence
from bevel.passes.assign.output_noise import OutputNoise, output_noise
from bevel.passes.assign.probe import Probe, open_probe, weighted_nodes
from bevel.passes.canonicalize import canonicalize
from bevel.passes.quantize import NodeFormat, QuantizeOptions, export, quantize
from bevel.passes.quantize.formats import weight_format

SAMPLES = 6
FORMATS = ("int8", "int4", "int2")

NETWORK = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[1,3,6,6] x) => (float[1,4] scores)
{
    first = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, kernel, offset)
    positive = Relu (first)
    second = Conv <kernel_shape = [1,1]> (positive, point, more)
    pooled = GlobalAveragePool (second)
    flat = Flatten (pooled)
    product = MatMul (flat, matrix)
    scores = Add (product, bias)
}
"""
SHAPES = {"kernel": (5, 3, 3, 3), "offset": (5,), "point": (6, 5, 1, 1), "more": (6,), "matrix": (6, 4), "bias": (4,)}


@dataclass(frozen=True)
class Few:
    """Calibration runs as a dataset."""

    samples: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Any:
        return iter(self.samples)


@dataclass(frozen=True)
class Case:
    canonical: onnx.ModelProto
    statistics: Any
    samples: Few

    def quantized(self, options: QuantizeOptions) -> onnx.ModelProto:
        return export(quantize(gs.import_onnx(self.canonical), self.statistics, options).graph)

    def probe(self, *formats: str) -> Probe:
        models = [self.quantized(QuantizeOptions(weights=weight_format(name))) for name in formats]
        return open_probe(self.canonical, list(weighted_nodes(self.canonical)), models, self.samples)


def parameters(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        )
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def case(text: str, shapes: Mapping[str, tuple[int, ...]], input_shape: tuple[int, ...]) -> Case:
    rng = np.random.default_rng(1)
    samples = Few(tuple({"x": rng.standard_normal(input_shape).astype(np.float32)} for _ in range(SAMPLES)))
    graph, _ = canonicalize(parameters(onnx.parser.parse_model(text), shapes), samples.samples[:1])
    canonical = gs.export_onnx(graph)
    return Case(canonical, observe(canonical, samples, QuantizeOptions().wants(graph)), samples)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network() -> Case:
    return case(NETWORK, SHAPES, (1, 3, 6, 6))


def ignore(done: int, total: int) -> None:
    assert 0 < done <= total


def test_sites_are_the_nodes_with_weights_and_a_product_belongs_to_its_sum(network: Case) -> None:
    sites = weighted_nodes(network.canonical)
    assert list(sites)[:2] == ["first", "second"] and len(sites) == 3
    for members in sites.values():
        assert len(members) <= 2


def test_without_changes_the_probe_is_the_float_model(network: Case) -> None:
    probe = network.probe("int8")
    session = ort.InferenceSession(network.canonical.SerializeToString(), providers=["CPUExecutionProvider"])
    for sample in network.samples:
        (expected,), (found,) = session.run(None, dict(sample)), probe.run(sample, {})
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_large_output_does_not_hide_the_noise_of_a_small_one() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    net (float[1,6] x) => (float[1,4] small, float[1,4] large)
    <float thousand = {1000.0}>
    {
        one = MatMul (x, matrix)
        small = Add (one, bias)
        two = MatMul (x, other)
        sum = Add (two, bias)
        bent = Sin (sum)
        large = Mul (bent, thousand)
    }
    """
    shapes = {"matrix": (6, 4), "other": (6, 4), "bias": (4,)}
    losses = output_noise(case(text, shapes, (1, 6)).probe("int8", "int2"), ignore).losses
    assert 0.05 < losses[0, 1] / losses[1, 1] < 20


def test_the_noise_of_a_site_is_that_of_the_float_model_with_its_weights_rounded(network: Case) -> None:
    probe = network.probe(*FORMATS)
    noise = output_noise(probe, ignore)
    assert noise.losses.shape == (3, 3)
    for site, formats in enumerate(probe.values):
        for format, constants in enumerate(formats):
            error = 0.0
            for sample in network.samples:
                difference = probe.run(sample, dict(constants))[0] - probe.run(sample, {})[0]
                error += float(np.sum(np.square(difference.astype(np.float64))))
            assert noise.losses[site, format] == pytest.approx(error, rel=1e-6)


def test_fewer_bits_lose_more_by_every_metric(network: Case) -> None:
    probe = network.probe(*FORMATS)
    bent = curvature(probe, 4, 0, ignore)
    for losses in (output_noise(probe, ignore).losses, bent.by_trace(), bent.by_eigenvalue()):
        assert (np.diff(losses, axis=1) > 0).all()
    softmax = divergence(probe, ignore)
    assert softmax.shape == (3, 3) and (softmax >= 0).all() and (softmax[:, 2] > softmax[:, 0]).all()


def test_products_of_errors_foresee_the_noise_of_two_sites_together(network: Case) -> None:
    probe = network.probe("int6", "int5")
    noise = output_noise(probe, ignore)
    places = [0 * 2 + 1, 2 * 2 + 0]  # the first site in int5, the last in int6
    foreseen = noise.products[np.ix_(places, places)].sum()
    together = {**probe.values[0][1], **probe.values[2][0]}
    real = sum(
        float(np.sum(np.square(probe.run(sample, together)[0] - probe.run(sample, {})[0])))
        for sample in network.samples
    )
    assert foreseen == pytest.approx(real, rel=0.05)
    alone = noise.losses[0, 1] + noise.losses[2, 0]
    assert abs(foreseen - real) < abs(alone - real)


def test_correlations_that_chance_would_make_are_taken_off() -> None:
    errors = np.random.default_rng(0).standard_normal((2, 100))
    errors = np.concatenate([errors, -errors[:1]])
    shrunk = OutputNoise(1.0, errors @ errors.T, 1, 100).shrunk
    np.testing.assert_allclose(np.diag(shrunk), np.square(errors).sum(axis=1))
    assert shrunk[0, 1] == 0 and shrunk[0, 2] == pytest.approx(-0.8 * shrunk[0, 0])


def test_only_a_node_that_asks_for_it_changes(network: Case) -> None:
    """What the probe takes for a site is what quantizing that node alone stores."""
    probe = network.probe("int8", "int4")
    alone = network.quantized(QuantizeOptions(nodes={"second": NodeFormat(weights=weight_format("int4"))}))
    found = open_probe(network.canonical, ["first", "second"], [alone], network.samples)
    for place, values in found.values[0][0].items():
        np.testing.assert_array_equal(values, probe.values[0][0][place])
    for place, values in found.values[1][0].items():
        np.testing.assert_array_equal(values, probe.values[1][1][place])


LINEAR = """
<ir_version: 10, opset_import: ["" : 21]>
net (float[1,8] x) => (float[1,3] y)
{
    y = Gemm (x, matrix, bias)
}
"""


def test_curvature_of_a_linear_layer_is_the_second_moment_of_its_input() -> None:
    """y = x W: the Hessian of half |y - y0|^2 by W is sum x x^T once for each output."""
    linear = case(LINEAR, {"matrix": (8, 3), "bias": (3,)}, (1, 8))
    bent = curvature(linear.probe("int8"), 200, 0, ignore)
    inputs = np.concatenate([sample["x"] for sample in linear.samples]).astype(np.float64)
    assert bent.traces[0] == pytest.approx(3 * np.square(inputs).sum(), rel=0.1)
    largest = np.linalg.eigvalsh(inputs.T @ inputs)[-1]
    assert bent.eigenvalues[0] == pytest.approx(largest, rel=0.25) and bent.weights[0] == 24


def test_divergence_asks_for_class_probabilities() -> None:
    text = NETWORK.replace("float[1,4] scores", "float[1,5,6,6] positive").split("second =")[0] + "}"
    with pytest.raises(UserError, match="compares class probabilities"):
        divergence(
            case(text, {name: SHAPES[name] for name in ("kernel", "offset")}, (1, 3, 6, 6)).probe("int8"), ignore
        )
