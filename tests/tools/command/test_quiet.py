"""Libraries raise what is wrong and do not print it, too: standard error holds our one line."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from bevel.tools.accuracy.evaluate import runner
from bevel.tools.command.quiet import quiet_libraries

TEXT = (
    '<ir_version: 8, opset_import: ["" : 17]> net (float[4] x, int64[1] size) => (float[N] y) { y = Reshape (x, size) }'
)


def test_a_model_that_fails_while_it_runs_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    quiet_libraries()
    one = runner(onnx.parser.parse_model(TEXT))
    with pytest.raises(Exception, match="Reshape"):  # onnxruntime's exceptions share no base class but Exception
        one.run_raw({"x": np.zeros(4, np.float32), "size": np.array([3])})
    with pytest.raises(Exception, match="protobuf"):
        onnxruntime.InferenceSession(b"no model")
    assert capfd.readouterr() == ("", "")
