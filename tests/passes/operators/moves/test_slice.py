"""Windows of a Slice are what onnxruntime cuts."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from hypothesis import assume, given
from hypothesis import strategies as st

from bevel.passes.operators.moves.slice import slice_windows

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (int8[N,M] x, int64[1] starts, int64[1] ends, int64[1] axes, int64[1] steps) => (int8[K,L] y) {
  y = Slice (x, starts, ends, axes, steps)
}
"""
SESSION = ort.InferenceSession(onnx.parser.parse_model(TEXT).SerializeToString(), providers=["CPUExecutionProvider"])
PLACES = st.integers(-9, 9) | st.sampled_from([-(2**63), -(2**31), 2**31 - 1, 2**31, 2**63 - 1])


@given(PLACES, PLACES, st.sampled_from([0, 1, -1, -2]), st.sampled_from([1, 2, 7, -1, -2, -7]))
def test_a_window_is_what_onnxruntime_cuts(start: int, end: int, axis: int, step: int) -> None:
    x = np.arange(20, dtype=np.int8).reshape(4, 5)
    starts, ends, axes, steps = (np.array([one], np.int64) for one in (start, end, axis, step))
    (cut,) = SESSION.run(None, {"x": x, "starts": starts, "ends": ends, "axes": axes, "steps": steps})
    windows = slice_windows(x.shape, starts, ends, axes, steps)
    assert tuple(one.size for one in windows) == cut.shape
    assume(cut.size)
    picked = [one.start + one.step * np.arange(one.size) for one in windows]
    np.testing.assert_array_equal(x[np.ix_(*picked)], cut)
