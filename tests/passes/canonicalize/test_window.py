"""Any window in, the same numbers out: pads solved by hand against onnxruntime's own auto_pad and ceil_mode."""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs
import onnxruntime as ort
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bevel.calib.errors import UserError
from bevel.passes.base import Pass, Work
from bevel.passes.canonicalize.evaluate import check_equivalence, open_session, random_inputs
from bevel.passes.canonicalize.infer_shapes import InferShapes
from bevel.passes.canonicalize.unify_conv import UnifyConv
from bevel.passes.canonicalize.unify_pool import UnifyPool

SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
AUTO = st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])

ORT_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
)
PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))


def check(node: str, size: tuple[int, int], rewrite: Pass, weight: str = "") -> None:
    """The rewrite keeps the numbers of the model `node`; models that onnxruntime itself refuses are no examples."""
    header = '<ir_version: 10, opset_import: ["" : 21]>'
    text = f"{header} g (float[1,2,{size[0]},{size[1]}] x{weight}) => (float[] y) {{ {node} }}"
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    try:
        open_session(model).run(None, random_inputs(model))
        graph = InferShapes()(Work(gs.import_onnx(model))).graph
    except (UserError, *ORT_ERRORS):
        assume(False)
    result = rewrite(Work(graph))
    check_equivalence(model, gs.export_onnx(result.graph), [random_inputs(model)])


@SETTINGS
@given(
    op=st.sampled_from(["MaxPool", "AveragePool"]),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    kernel=PAIR,
    stride=PAIR,
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    auto=AUTO,
    ceil=st.booleans(),
    counts=st.booleans(),
)
def test_pools_keep_their_numbers(op, size, kernel, stride, dilation, pads, auto, ceil, counts) -> None:
    assume(not auto.startswith("SAME") or dilation == (1, 1))
    attributes = [f"kernel_shape = {list(kernel)}", f"strides = {list(stride)}", f"ceil_mode = {int(ceil)}"]
    attributes.append(f"dilations = {list(dilation)}")
    attributes.append(f"pads = {list(pads)}" if auto == "NOTSET" else f'auto_pad = "{auto}"')
    if op == "AveragePool":
        attributes.append(f"count_include_pad = {int(counts)}")
    check(f"y = {op} <{', '.join(attributes)}> (x)", size, UnifyPool())


@SETTINGS
@given(
    op=st.sampled_from(["Conv", "ConvTranspose"]),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=PAIR,
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 1)] * 4),
    auto=AUTO,
)
def test_convolutions_keep_their_numbers(op, size, kernel, stride, pads, auto) -> None:
    attributes = [f"kernel_shape = {list(kernel)}", f"strides = {list(stride)}"]
    attributes.append(f"pads = {list(pads)}" if auto == "NOTSET" else f'auto_pad = "{auto}"')
    weight = f", float[2,2,{kernel[0]},{kernel[1]}] w"
    check(f"y = {op} <{', '.join(attributes)}> (x, w)", size, UnifyConv(), weight)
