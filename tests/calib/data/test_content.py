"""Arrays told apart by type, shape and values."""

import ml_dtypes
import numpy as np

from bevel.calib.data.content import DIGEST_BYTES, content

ONE = np.arange(12, dtype=np.int16)


def test_equal_arrays_have_one_key_however_they_lie_in_memory() -> None:
    rows = ONE.reshape(3, 4)
    assert content(rows) == content(np.asfortranarray(rows)) == content(rows.T.copy().T)
    assert len(content(rows)) == DIGEST_BYTES


def test_type_shape_and_each_value_make_another_key() -> None:
    changed = ONE.copy()
    changed[7] += 1
    others = [ONE.astype(np.uint16), ONE.view(np.float16), ONE.reshape(3, 4), ONE.reshape(4, 3), changed, ONE[:11]]
    assert len({content(one) for one in (ONE, *others)}) == 7


def test_scalars_empty_arrays_and_types_that_numpy_does_not_know_have_keys() -> None:
    scalar = np.float32(1.5)
    assert content(np.asarray(scalar)) != content(np.asarray([scalar]))
    assert content(np.zeros((0, 3), np.int8)) != content(np.zeros((3, 0), np.int8))
    assert content(ONE.astype(ml_dtypes.bfloat16)) != content(ONE.astype(np.float16))
