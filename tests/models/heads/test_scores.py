"""Heads over one score a part: hand-worked, exact by part, and clear about codes they cannot read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.models.heads.linear import HEADS
from partrep.models.heads.scores import class_tied_kernel, shrink

B, K, C = 3, 6, 3
RNG = np.random.default_rng(0)
CODES = RNG.uniform(0.0, 9.0, (B, K, 1)).astype(np.float32)
PRESENCE = np.ones((B, K), np.float32)
KERNEL = RNG.normal(0.0, 1.0, (K, C)).astype(np.float32)


@pytest.mark.parametrize("name", ["class_tied", "nonnegative"])
def test_contributions_are_exact_and_sum_to_the_logits(name):
    head, variables = HEADS[name](classes=C), {"params": {"kernel": KERNEL}}
    weights = np.maximum(KERNEL, 0) if name == "nonnegative" else KERNEL
    share = head.apply(variables, CODES, PRESENCE, method="contributions")
    np.testing.assert_allclose(share, CODES.astype(np.float64) * weights, rtol=1e-6)
    logits = head.apply(variables, CODES, PRESENCE, False)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, CODES[..., 0].astype(np.float64) @ weights, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(head.apply(variables, CODES, PRESENCE, True), logits)
    for k in range(K):
        without = CODES.copy()
        without[:, k] = 0
        change = logits - head.apply(variables, without, PRESENCE, False)
        np.testing.assert_allclose(change, share[:, k], rtol=1e-4, atol=1e-5)


def test_at_the_start_a_prototype_votes_for_its_class_and_against_the_others():
    head = HEADS["class_tied"](classes=C)
    logits, variables = head.init_with_output(jax.random.key(0), CODES, PRESENCE, False)
    expected = [[1.0 if p // 2 == c else -0.5 for c in range(C)] for p in range(K)]
    np.testing.assert_array_equal(variables["params"]["kernel"], expected)
    own = CODES.reshape(B, C, 2).sum(2)
    np.testing.assert_allclose(logits, 1.5 * own - 0.5 * own.sum(1, keepdims=True), rtol=1e-5)
    louder = HEADS["class_tied"](classes=C, scale=10.0).init(jax.random.key(0), CODES, PRESENCE, False)
    np.testing.assert_array_equal(louder["params"]["kernel"], 10 * np.float32(expected))


def test_at_the_start_every_part_speaks_for_every_class():
    head = HEADS["nonnegative"](classes=200)
    kernel = jax.jit(lambda k: head.init(k, CODES, PRESENCE, False))(jax.random.key(0))["params"]["kernel"]
    assert kernel.shape == (K, 200) and kernel.min() > 0
    assert kernel.mean() == pytest.approx(1.0, abs=0.02) and kernel.std() == pytest.approx(0.1, abs=0.01)


def test_no_part_speaks_against_a_class_and_a_weight_at_zero_stays_there():
    head = HEADS["nonnegative"](classes=C)
    share = head.apply({"params": {"kernel": KERNEL}}, CODES, PRESENCE, method="contributions")
    assert share.min() >= 0
    kernel = jnp.full((K, C), 0.0005).at[0, 0].set(1.0)
    for _ in range(2):
        kernel = shrink(kernel)
    np.testing.assert_allclose(kernel[0, 0], 0.998, rtol=1e-6)
    assert not np.asarray(kernel).ravel()[1:].any()
    gradient = jax.jit(jax.grad(lambda w: head.apply({"params": {"kernel": w}}, CODES, PRESENCE, True).sum()))(kernel)
    np.testing.assert_array_equal(np.asarray(gradient != 0), np.asarray(kernel > 0))


def test_codes_that_are_no_scores_and_prototypes_that_do_not_divide_are_named():
    for name in ("class_tied", "nonnegative"):
        with pytest.raises(UserError, match=f"the {name} head found codes of width 8; expected one score a part"):
            HEADS[name](classes=C).init(jax.random.key(0), jnp.ones((B, K, 8)), PRESENCE, False)
    with pytest.raises(UserError, match="found 6 prototypes and 4 classes; expected as many for each class"):
        class_tied_kernel(jax.random.key(0), (6, 4))
