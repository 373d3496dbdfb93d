"""Products beyond int8 and sums beyond int32: the functions in onnxruntime equal numpy's int64, bit for bit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.tir import importer
from bevel.calib.arithmetic.requantize import Output, requantize
from bevel.calib.formats.coded import Coded
from bevel.calib.formats.scheme import PerBlock, PerTensor
from bevel.passes.exchange.export import export
from bevel.passes.operators.base import Activation, Array, Reason, Site, Weight
from bevel.passes.operators.products.accumulate import FEWEST_BITS
from bevel.passes.operators.products.conv import Conv
from bevel.passes.operators.products.gemm import Gemm
from bevel.passes.partition.partition import partition

LIMITS = {"int8": (-128, 127), "int16": (-448, 448), "int32": (-229376, 229376)}


@dataclass(frozen=True)
class Problem:
    """A convolution, or with `image` None a product of matrices, with its integers."""

    channels_in: int = 3
    channels_out: int = 4
    groups: int = 1
    batch: int = 2
    image: tuple[int, ...] | None = (5, 6)
    window: tuple[int, ...] = (3, 3)
    strides: tuple[int, ...] = (1, 1)
    dilations: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (1, 0, 1, 2)
    x_type: str = "int16"
    x_zero_point: int = 0
    output: Output = field(default_factory=lambda: Output(3, -128, 127))
    weights: str = "e4m3"
    block: int = 0
    ratio: float = 1e-6
    seed: int = 0

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if self.image is None:
            return (self.channels_in, self.channels_out)
        return (self.channels_out, self.channels_in // self.groups, *self.window)

    def coded(self) -> Coded:
        """Random codes, the extremes of the table among them."""
        rng = np.random.default_rng(self.seed)
        table = TABLES[self.weights]
        codes = rng.integers(0, len(table), self.weight_shape).astype(np.uint8)
        codes.flat[0], codes.flat[-1] = 0, len(table) - 1
        bits = max(1, (len(table) - 1).bit_length())
        if not self.block:
            return Coded(codes, bits, table, PerTensor(), np.zeros((), np.uint8), np.ones(1, np.int32))
        axis = 0 if self.image is None else 1
        shape = list(self.weight_shape)
        shape[axis] = -(-shape[axis] // self.block)
        factors = np.array([1, 2, 4, 64, 3], np.int32)
        return Coded(
            codes, bits, table, PerBlock(axis, self.block), rng.integers(0, 5, shape).astype(np.uint8), factors
        )

    def node(self) -> gs.Node:
        if self.image is None:
            return gs.Node("MatMul", "y", {})
        attrs = {"strides": self.strides, "dilations": self.dilations, "pads": self.pads, "group": self.groups}
        return gs.Node("Conv", "y", {name: list(v) if isinstance(v, tuple) else v for name, v in attrs.items()})

    def bias(self) -> Array:
        return np.random.default_rng(self.seed + 1).integers(-(2**20), 2**20, self.channels_out)

    def site(self, coded: Coded) -> Site:
        """Scales of 1 make the sums' scale 1; the result's is what the sums are divided by."""
        shape = [self.batch, self.channels_in, *(self.image or ())]
        x = Activation(gs.Variable("x", np.dtype(self.x_type), shape), 1.0, self.x_zero_point, *LIMITS[self.x_type])
        weight = Weight(coded.values(), np.ones(()), 0, coded)
        y = gs.Variable("y", np.dtype(self.output.dtype), list(self.sums(self.x(), coded).shape))
        return Site(self.node(), (x, weight, self.bias().astype(np.float64)), y, 1 / self.ratio, self.output)

    def x(self) -> Array:
        rng = np.random.default_rng(self.seed + 2)
        low, high = LIMITS[self.x_type]
        shape = (self.batch, self.channels_in, *(self.image or ()))
        x = rng.integers(low, high + 1, shape)
        x[rng.random(shape) < 0.3] = high
        return x.astype(self.x_type)

    def sums(self, x: Array, coded: Coded) -> Array:
        """Tap by tap in numpy's int64: [N, Cout, positions...]."""
        w, centered = coded.values(), x.astype(np.int64) - self.x_zero_point
        if self.image is None:
            return centered @ w + self.bias()
        spatial = len(self.image)
        margins = [(self.pads[axis], self.pads[axis + spatial]) for axis in range(spatial)]
        padded = np.pad(centered, [(0, 0), (0, 0), *margins])
        reach = [d * (k - 1) + 1 for k, d in zip(self.window, self.dilations, strict=True)]
        positions = [
            (size - over) // stride + 1
            for size, over, stride in zip(padded.shape[2:], reach, self.strides, strict=True)
        ]
        total = np.zeros((self.batch, self.channels_out, *positions), np.int64)
        per_in, per_out = self.channels_in // self.groups, self.channels_out // self.groups
        for tap in np.ndindex(*self.window):
            cut = [
                slice(at * d, at * d + (count - 1) * s + 1, s)
                for at, d, count, s in zip(tap, self.dilations, positions, self.strides, strict=True)
            ]
            taken = padded[(slice(None), slice(None), *cut)]
            for out in range(self.channels_out):
                group = out // per_out
                channels = taken[:, group * per_in : (group + 1) * per_in]
                total[:, out] += np.tensordot(channels, w[(out, slice(None), *tap)], axes=([1], [0]))
        return total + self.bias().reshape(-1, *[1] * spatial)

    def operator(self) -> Conv | Gemm:
        return Gemm() if self.image is None else Conv()


TABLES = {
    "int8": np.arange(-128, 128, dtype=np.int32),
    "e2m1": np.array([-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12], np.int32),
    "e3m2": np.array([-448, -384, -320, -7, -1, 0, 1, 3, 7, 28, 320, 384, 448], np.int32),
    "e4m3": np.array([-229376, -212992, -3, -1, 0, 1, 2, 15, 1024, 229376], np.int32),
    "binary": np.array([-300, 300], np.int32),
}


def integer_model(site: Site, operator: Conv | Gemm) -> onnx.ModelProto:
    nodes = operator.integerize(site)
    assert not isinstance(nodes, Reason), nodes
    return export(gs.Graph(nodes, [site.inputs[0].tensor], [site.output], opset=21))


def run(model: onnx.ModelProto, x: Array, level: ort.GraphOptimizationLevel, name: str = "x") -> Array:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level, options.graph_optimization_level = 1, 3, level
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    result: Array = session.run(None, {name: x})[0]
    return result


def check(problem: Problem) -> None:
    """onnxruntime at both settings and the kernel equal the reference, which is near the real product."""
    coded, output = problem.coded(), problem.output
    model = integer_model(problem.site(coded), problem.operator())
    assert model.graph.node[-1].op_type == ("WideGemm" if problem.image is None else "WideConv")
    values = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    multiplier, shift = (values[f"y/{role}"] for role in ("multiplier", "shift"))
    sums = problem.sums(problem.x(), coded)
    assert (np.abs(sums).astype(object) * multiplier.astype(object)).max() < 2**61
    expected = requantize(sums, multiplier, shift, output)
    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
        np.testing.assert_array_equal(run(model, problem.x(), level), expected, strict=True)
    program, _ = partition(model, "m", islands=False, importer=importer)
    assert [type(call.kernel) for call in program.calls if "reorder" not in call.node] == [CodedConv]
    np.testing.assert_array_equal(program.run({"x": problem.x()})["y"], expected, strict=True)
    exact = np.clip(np.floor(sums * problem.ratio + 0.5) + output.zero_point, output.low, output.high)
    assert np.abs(exact - expected).max() <= 1 + np.abs(exact).max() * 2.0**-FEWEST_BITS


CASES = {
    "int16 of int16": Problem(output=Output(0, -32768, 32767, "int16"), ratio=1e-4),
    "int32 of int32": Problem(x_type="int32", output=Output(0, -(2**24), 2**24, "int32"), ratio=2e-5),
    "int8 of int8": Problem(x_type="int8", x_zero_point=-128, output=Output(5)),
    "narrow sums": Problem(x_type="int8", x_zero_point=7, weights="e3m2", ratio=2e-4),
    "1-D": Problem(image=(11,), window=(4,), strides=(2,), dilations=(2,), pads=(3, 1), weights="e3m2", ratio=1e-4),
    "1x1": Problem(window=(1, 1), pads=(0, 0, 0, 0), strides=(2, 2)),
    "depthwise": Problem(channels_in=4, groups=4, weights="e3m2", ratio=1e-4),
    "depthwise, multiplier 2": Problem(channels_in=2, groups=2, weights="binary", ratio=1e-4),
    "groups": Problem(channels_in=6, groups=2, strides=(2, 3), pads=(2, 2, 0, 1)),
    "dilated": Problem(image=(9, 8), dilations=(2, 3), pads=(0, 3, 2, 1), weights="int8", ratio=1e-4),
    "blocks": Problem(channels_in=7, weights="e2m1", block=3, ratio=1e-4),
    "blocks in groups": Problem(channels_in=10, groups=2, weights="e2m1", block=4, ratio=1e-4),
    "matrices": Problem(image=None, channels_in=9, channels_out=5),
    "matrices of blocks": Problem(image=None, channels_in=9, weights="e2m1", block=4, x_type="int8", ratio=1e-3),
    "one by one": Problem(image=None, channels_in=1, channels_out=1, batch=1, weights="binary", ratio=1e-2),
}


@pytest.mark.parametrize("problem", CASES.values(), ids=CASES.keys())
def test_function_in_onnxruntime_is_the_int64_sum_requantized(problem: Problem) -> None:
    check(problem)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    def pick(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    groups = pick(1, 3)
    x_type = draw(st.sampled_from(sorted(LIMITS)))
    low, high = LIMITS[x_type]
    kind = draw(st.sampled_from(["int8", "int16", "int32"]))
    limit = min(2**24, int(np.iinfo(kind).max))
    return Problem(
        channels_in=groups * pick(1, 5),
        channels_out=groups * pick(1, 3),
        groups=groups,
        batch=pick(1, 2),
        image=(pick(3, 6), pick(3, 6)),
        window=(pick(1, 3), pick(1, 3)),
        strides=(pick(1, 3), pick(1, 3)),
        dilations=(pick(1, 2), pick(1, 2)),
        pads=tuple(pick(1, 3) for _ in range(4)),
        x_type=x_type,
        x_zero_point=draw(st.sampled_from([low, 0, 5, high])),
        output=Output(pick(-5, 5), -limit, limit - 1, kind),
        weights=draw(st.sampled_from(sorted(TABLES))),
        block=pick(0, 3),
        ratio=10.0 ** -pick(0, 9),
        seed=pick(0, 99),
    )


@settings(max_examples=40)
@given(problems())
def test_any_geometry_of_any_integers_is_exact(problem: Problem) -> None:
    check(problem)


def refusal(problem: Problem, coded: Coded) -> str:
    found = problem.operator().integerize(problem.site(coded))
    assert isinstance(found, Reason), found
    return found


def test_what_fits_int8_and_int32_stays_there() -> None:
    problem = Problem(x_type="int8", weights="e2m1", ratio=1e-3)
    nodes = problem.operator().integerize(problem.site(problem.coded()))
    assert not isinstance(nodes, Reason)
    assert [node.op for node in nodes] == ["Conv"]


@pytest.mark.parametrize(("channels_in", "op"), [(32, "WideConv"), (2, "Conv")])
def test_blocks_whose_products_fit_int8_are_kept_where_they_are_shorter(channels_in: int, op: str) -> None:
    problem = Problem(channels_in=channels_in, x_type="int8", weights="e2m1", block=32, ratio=1e-3)
    coded = problem.coded()
    small = replace(coded, block_codes=coded.block_codes % 3)  # factors 1, 2 and 4
    nodes = problem.operator().integerize(problem.site(small))
    assert not isinstance(nodes, Reason), nodes
    assert [node.op for node in nodes] == [op]


@pytest.mark.parametrize(("x_type", "dtype"), [("int16", np.int32), ("int32", np.int64)])
def test_sums_are_of_64_bits_only_where_their_bound_needs_it(x_type: str, dtype: type) -> None:
    problem = Problem(weights="e3m2", x_type=x_type, ratio=1e-4)
    model = integer_model(problem.site(problem.coded()), problem.operator())
    (bias,) = (one for one in model.graph.initializer if one.name == "y/bias")
    assert onnx.numpy_helper.to_array(bias).dtype == dtype


def test_int8_whose_sums_pass_int32_is_wide() -> None:
    problem = Problem(
        image=None, channels_in=140000, channels_out=1, batch=1, x_type="int8", weights="int8", ratio=1e-7
    )
    check(problem)


def test_weights_stand_packed_in_the_file() -> None:
    problem = Problem(channels_in=32, weights="e2m1", block=16, ratio=1e-4)
    model = integer_model(problem.site(problem.coded()), problem.operator())
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    assert {array.dtype for array in stored.values() if array.size > 100} == {np.dtype(np.uint8)}
    assert max(array.nbytes for array in stored.values()) == 4 * 32 * 9 // 2


def test_function_and_its_types_are_inferred_when_it_is_inlined() -> None:
    problem = CASES["int32 of int32"]
    model = integer_model(problem.site(problem.coded()), problem.operator())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    flat = onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(model), strict_mode=True)
    inferred = [dim.dim_value for dim in flat.graph.output[0].type.tensor_type.shape.dim]
    assert inferred == list(problem.sums(problem.x(), problem.coded()).shape)
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    assert not [one.name for one in flat.graph.value_info if one.type.tensor_type.elem_type in floats]


def test_sums_without_room_for_a_multiplier_are_refused_by_channel() -> None:
    problem = replace(CASES["int32 of int32"], channels_in=2**11)
    coded = problem.coded()
    largest = replace(coded, codes=np.zeros_like(coded.codes))
    assert re.match(r"the sums of channel 0 may reach \d{15}, which leaves no room", refusal(problem, largest))


def test_a_ratio_beyond_the_multiplier_is_refused_by_channel() -> None:
    problem = replace(CASES["int32 of int32"], ratio=2.0**30)
    assert re.search(r"channel 0 are raised by 1.07e\+09, beyond its 2\d-bit", refusal(problem, problem.coded()))


def test_blocks_along_another_axis_are_refused() -> None:
    problem = CASES["blocks"]
    coded = problem.coded()
    turned = replace(coded, blocks=PerBlock(0, 4), block_codes=np.zeros((1, 7, 3, 3), np.uint8))
    assert "run along axis 0, not along the input channels" in refusal(problem, turned)


def test_more_integers_than_codes_beyond_int16_are_refused() -> None:
    problem = Problem(channels_in=32)
    weights = Weight(np.arange(4 * 32 * 9).reshape(4, 32, 3, 3) * 100, np.ones(()), 0)
    site = problem.site(problem.coded())
    found = Conv().integerize(replace(site, inputs=(site.inputs[0], weights)))
    assert found == Reason("its weights are 1152 different integers beyond int16; codes of 8 bits tell 256 apart")


def test_weights_of_sixteen_bits_need_no_codes() -> None:
    problem = Problem(channels_in=32, ratio=1e-6)
    weights = Weight(np.random.default_rng(0).integers(-(2**15), 2**15, (4, 32, 3, 3)), np.ones(()), 0)
    site = problem.site(problem.coded())
    nodes = Conv().integerize(replace(site, inputs=(site.inputs[0], weights)))
    assert not isinstance(nodes, Reason), nodes
    assert nodes[0].inputs[1].values.dtype == np.int16


def test_image_that_arrives_transposed_is_padded_as_it_should_be() -> None:
    problem = Problem(pads=(2, 0, 1, 3))
    coded = problem.coded()
    site = problem.site(coded)
    nodes = problem.operator().integerize(site)
    assert not isinstance(nodes, Reason), nodes
    nchw = problem.x()
    last = gs.Variable("last", np.dtype(problem.x_type), list(np.moveaxis(nchw, 1, -1).shape))
    turn = gs.Node("Transpose", "turn", {"perm": [0, 3, 1, 2]}, [last], [site.inputs[0].tensor])
    model = export(gs.Graph([turn, *nodes], [last], [site.output], opset=21))
    straight = integer_model(problem.site(coded), problem.operator())
    expected = run(straight, nchw, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    found = run(model, np.moveaxis(nchw, 1, -1), ort.GraphOptimizationLevel.ORT_ENABLE_ALL, "last")
    np.testing.assert_array_equal(found, expected, strict=True)
