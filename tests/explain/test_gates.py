"""Gates: the same maps fail, unrelated ones pass; parameters are permuted leaf by leaf, the rest untouched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from partrep import UserError
from partrep.explain.gates import cascade, label_randomisation, parameter_randomisation, randomised

RNG = np.random.default_rng(0)
GATES = (parameter_randomisation, label_randomisation)
VARIABLES = {
    "params": {
        "backbone": {"kernel": jnp.asarray(RNG.normal(size=(4, 8))), "bias": jnp.zeros(8)},
        "head": {"kernel": jnp.asarray(RNG.normal(size=(8, 3)))},
    },
    "batch_stats": {"backbone": {"mean": jnp.asarray(RNG.normal(size=8))}},
}


@pytest.mark.parametrize("gate", GATES)
def test_identical_maps_fail_and_independent_ones_pass(gate):
    one, two = RNG.normal(size=(2, 6, 8, 8))
    same, apart = gate(one, 3 * one + 1), gate(one, two)
    assert not same.passed and np.allclose(same.similarity, 1)
    assert apart.passed and np.abs(apart.similarity).max() < 0.5
    for i in range(6):
        assert apart.similarity[i] == pytest.approx(stats.spearmanr(one[i].ravel(), two[i].ravel()).statistic)
        between = stats.spearmanr(one[i].ravel(), one[(i + 1) % 6].ravel()).statistic
        assert apart.between_images[i] == pytest.approx(between)


@pytest.mark.parametrize("gate", GATES)
def test_the_verdict_is_that_of_the_threshold(gate):
    one, noise = RNG.normal(size=(2, 4, 10, 10))
    mixed = one + noise  # rho about 0.7
    assert not gate(one, mixed).passed and gate(one, mixed, threshold=0.9).passed
    between = gate(np.repeat(one[:1], 4, axis=0), mixed).between_images
    assert np.allclose(between, 1)  # a map that is the same for every image shows there
    with pytest.raises(UserError, match="found 1 images"):
        gate(one[:1], mixed[:1])
    with pytest.raises(ValueError, match="other has shape"):
        gate(one, mixed[:, :3])


def test_matching_leaves_are_permuted_and_no_other():
    key = jax.random.key(0)
    new = randomised(VARIABLES, key, "params/.*/kernel")
    assert jax.tree.structure(new) == jax.tree.structure(VARIABLES)
    for name in ("backbone", "head"):
        old, made = (np.asarray(tree["params"][name]["kernel"]) for tree in (VARIABLES, new))
        assert made.shape == old.shape and made.dtype == old.dtype and not np.array_equal(made, old)
        np.testing.assert_array_equal(np.sort(made, None), np.sort(old, None))
    assert new["batch_stats"]["backbone"]["mean"] is VARIABLES["batch_stats"]["backbone"]["mean"]
    alone = randomised(VARIABLES, key, "params/head/kernel")
    np.testing.assert_array_equal(alone["params"]["head"]["kernel"], new["params"]["head"]["kernel"])
    other = randomised(VARIABLES, jax.random.key(1), "params/head/kernel")
    assert not np.array_equal(other["params"]["head"]["kernel"], new["params"]["head"]["kernel"])


def test_leaves_of_one_shape_are_permuted_differently():
    tree = {"a": jnp.arange(50.0), "b": jnp.arange(50.0)}
    new = randomised(tree, jax.random.key(0), ".*")
    assert not np.array_equal(new["a"], new["b"])


def test_a_cascade_randomises_from_the_first_pattern_on():
    head, both = cascade(VARIABLES, jax.random.key(0), ["params/head/.*", "params/backbone/.*"])
    kernels = [np.asarray(tree["params"]["backbone"]["kernel"]) for tree in (VARIABLES, head, both)]
    assert np.array_equal(kernels[0], kernels[1]) and not np.array_equal(kernels[1], kernels[2])
    np.testing.assert_array_equal(head["params"]["head"]["kernel"], both["params"]["head"]["kernel"])
    assert not np.array_equal(head["params"]["head"]["kernel"], VARIABLES["params"]["head"]["kernel"])


def test_a_pattern_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"no leaf matches 'head'; expected a pattern of paths such as 'batch_stats/"):
        randomised(VARIABLES, jax.random.key(0), "head")
