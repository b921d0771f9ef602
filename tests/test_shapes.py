"""Shape checks bind letters, skip None, and name what does not fit."""

import numpy as np
import pytest

from partrep.shapes import check_shapes


def test_binds_letters_across_arrays():
    sizes = check_shapes("f", a=(np.ones((2, 3)), "B K"), b=(np.ones((3, 5)), "K D"), c=(None, "B"))
    assert sizes == {"B": 2, "K": 3, "D": 5}


def test_ellipsis_stands_for_any_axes():
    assert check_shapes("f", a=(np.ones((7, 6, 2, 3)), "... K D"), b=(np.ones(3), "... D")) == {
        "K": 2,
        "D": 3,
    }


@pytest.mark.parametrize(
    "array, axes, expected",
    [
        (np.ones((2, 4)), "B K", r"f: x has shape \(2, 4\); expected \[B,K\] with K=3"),
        (np.ones(2), "B K", r"f: x has shape \(2,\); expected \[B,K\] with K=3"),
        (np.float32(1), "... K", r"f: x has shape \(\); expected \[...,K\] with K=3"),
        (np.ones((2, 4)), "B h w", r"f: x has shape \(2, 4\); expected \[B,h,w\]"),
    ],
)
def test_a_misfit_is_named(array, axes, expected):
    with pytest.raises(ValueError, match=expected):
        check_shapes("f", other=(np.ones(3), "K"), x=(array, axes))
