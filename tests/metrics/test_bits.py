"""Entropy of binary codes: by hand, bounds, and bits that repeat or never change."""

from __future__ import annotations

import numpy as np
import pytest

from partrep import UserError
from partrep.metrics import bits


def every_code(width: int) -> np.ndarray:
    """[2^M,1,M], all codes of one part."""
    return (2 * ((np.arange(2**width)[:, None] >> np.arange(width)) & 1) - 1)[:, None]


def test_all_codes_once_have_all_bits():
    codes = every_code(5)
    assert bits.bits_per_part(codes) == pytest.approx([5.0])
    assert bits.joint_bits_per_part(codes) == pytest.approx([5.0])
    assert bits.dead_bits(codes) == 0.0


def test_by_hand():
    """A bit that is 1 in one of four images: 1/4 log2 4 + 3/4 log2 4/3."""
    codes = -np.ones((4, 2, 3))
    codes[0, 1, 2] = 1
    expected = 0.25 * 2 + 0.75 * np.log2(4 / 3)
    assert bits.bits_per_part(codes) == pytest.approx([0.0, expected])
    assert bits.joint_bits_per_part(codes) == pytest.approx([0.0, expected])
    assert bits.dead_bits(codes) == pytest.approx(5 / 6)


def test_repeated_bits_add_to_the_bound_alone():
    codes = every_code(3)
    twice = np.concatenate([codes, -codes], axis=2)
    assert bits.bits_per_part(twice) == pytest.approx([6.0])
    assert bits.joint_bits_per_part(twice) == pytest.approx([3.0])


def test_the_joint_entropy_lies_under_the_bound_and_under_the_number_of_images():
    generator = np.random.default_rng(0)
    codes = np.where(generator.random((50, 4, 16)) < generator.random((4, 16)), 1, -1)
    joint, bound = bits.joint_bits_per_part(codes), bits.bits_per_part(codes)
    assert (joint <= np.minimum(bound, np.log2(50)) + 1e-12).all()
    order = np.array([2, 0, 3, 1])
    assert bits.bits_per_part(codes[:, order]) == pytest.approx(bound[order])
    assert bits.joint_bits_per_part(codes[:, order][:, :, ::-1]) == pytest.approx(joint[order])


def test_mistakes_are_named():
    with pytest.raises(UserError, match="other than -1 and 1"):
        bits.bits_per_part(np.zeros((3, 2, 4)))
    with pytest.raises(UserError, match="17 bits"):
        bits.joint_bits_per_part(np.ones((3, 2, 17)))
    with pytest.raises(ValueError, match=r"\[n,K,M\]"):
        bits.dead_bits(np.ones((3, 4)))
