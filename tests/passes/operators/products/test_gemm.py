"""Products by weights whose results are int16: int8 ones have the kernels of int8, others decode their weights."""

from __future__ import annotations

from typing import Any

import pytest

from bevel.backends.program.ops.coded_conv import CodedConv
from bevel.backends.program.ops.gemm import Gemm
from bevel.calib.formats.format import INT16
from bevel.passes.quantize import NodeFormat, QuantizeOptions
from bevel.passes.quantize.formats import weight_format

BODY = "m = MatMul (x, w)\n n = Add (m, b)\n y = Softmax (n)"
WEIGHTS = "float[24,6] w, float[6] b"


@pytest.mark.parametrize(
    ("wide", "kernel", "x_dtype"),
    [(("n",), Gemm, "int8"), (("x", "n"), CodedConv, "int16"), (("x",), CodedConv, "int16"), ((), Gemm, "int8")],
)
def test_int8_times_int8_to_int16_is_a_product_of_int8(
    wide: tuple[str, ...], kernel: type, x_dtype: str, text: Any, stages: Any
) -> None:
    options = QuantizeOptions(nodes={name: NodeFormat(activations=INT16) for name in wide})
    made = stages(text(BODY, "float[3,24] x", weights=WEIGHTS), None, options)
    (found,) = [call.kernel for call in made.program.calls if isinstance(call.kernel, Gemm | CodedConv)]
    assert type(found) is kernel and found.operands()[0].dtype == x_dtype
    for sample in made.extremes():
        made.run(sample)


def test_weights_in_blocks_are_decoded_with_int16_results_too(text: Any, stages: Any) -> None:
    options = QuantizeOptions(weights=weight_format("int4:block8"), nodes={"n": NodeFormat(activations=INT16)})
    made = stages(text(BODY, "float[3,24] x", weights=WEIGHTS), None, options)
    assert any(isinstance(call.kernel, CodedConv) for call in made.program.calls)
    for sample in made.extremes():
        made.run(sample)
