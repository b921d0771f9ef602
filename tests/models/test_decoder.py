"""Layers and shares make the image, parts paint where they look, and the whole learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from partrep import UserError
from partrep.models.decoder import PartDecoder, flat_blocks, mixture
from partrep.parts import readout
from partrep.parts.structure import Parts

B, K, M, D, GRID, SHAPE = 2, 2, 3, 4, (4, 4), (8, 12, 3)
RNG = np.random.default_rng(0)
CODES = RNG.normal(size=(B, K, M)).astype(np.float32)
FEATURES = RNG.normal(size=(B, *GRID, D)).astype(np.float32)
DECODER = PartDecoder(hidden=8)
INIT = lambda *x: DECODER.init(jax.random.key(0), *x, SHAPE)  # noqa: E731
PAINT = jax.jit(lambda v, *x: DECODER.apply(v, *x, SHAPE))


def make_parts(shares):
    """Parts from shares [B,K+1,h,w], the last the background, or [B,K,h,w] without one."""
    a = jnp.float32(shares[:, :K])
    rest = jnp.float32(shares[:, K]) if shares.shape[1] > K else None
    return Parts(a, a, rest, None, None, readout.presence(a), readout.centroid(a))


def one_cell(y, x):
    """Part 0 in one cell, part 1 nowhere, background elsewhere."""
    a = np.zeros((B, K + 1, *GRID))
    a[:, 0, y, x] = 1
    a[:, K] = 1 - a[:, 0]
    return make_parts(a)


SOFT = make_parts(RNG.dirichlet(np.ones(K + 1), size=(B, *GRID)).transpose(0, 3, 1, 2))


def random_variables(parts):
    shapes, rng = jax.eval_shape(INIT, CODES, parts, FEATURES), np.random.default_rng(1)
    return jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes)


@pytest.fixture(scope="module")
def variables():
    return random_variables(SOFT)


def oracle(params, codes, parts, features):
    """Every pixel by loops in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    a, g = np.asarray(parts.assignment, np.float64), np.asarray(parts.background, np.float64)
    layers = np.zeros((B, K + 1, *SHAPE))
    for b, k, y, x in np.ndindex(B, K + 1, *GRID):
        if k < K:
            said, centre = codes[b, k].astype(np.float64), np.asarray(parts.centroid[b, k], np.float64)
        else:
            mean = sum(g[b, i, j] * features[b, i, j] for i, j in np.ndindex(*GRID)) / g[b].sum()
            said, centre = mean @ p["background"]["kernel"] + p["background"]["bias"], np.array([0.5, 0.5])
        place = np.array([(y + 0.5) / GRID[0], (x + 0.5) / GRID[1]]) - centre
        unit = np.maximum(said @ p["code_kernel"][k] + p["code_bias"][k] + place @ p["place_kernel"], 0)
        unit = np.maximum(unit @ p["hidden"]["kernel"] + p["hidden"]["bias"], 0)
        block = (unit @ p["paint"]["kernel"] + p["paint"]["bias"]).reshape(2, 3, 3)
        layers[b, k, 2 * y : 2 * y + 2, 3 * x : 3 * x + 3] = block
    shares = np.concatenate([a, g[:, None]], 1).repeat(2, 2).repeat(3, 3)
    return shares, layers, (shares[..., None] * layers).sum(1)


def test_against_loops(variables):
    painted = PAINT(variables, CODES, SOFT, FEATURES)
    shares, layers, image = oracle(variables["params"], CODES, SOFT, FEATURES)
    np.testing.assert_allclose(painted.shares, shares, rtol=1e-5)
    np.testing.assert_allclose(painted.layers, layers, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(painted.image, image, rtol=1e-3, atol=2e-3)
    assert painted.image.dtype == jnp.float32


def test_shares_sum_to_one_whatever_the_competition():
    soft = SOFT.assignment, SOFT.background
    for assignment, background in (soft, (soft[0], None), (3 * soft[0], None), (0 * soft[0], None)):
        shares = mixture(assignment, background)
        assert shares.shape == (B, K + 1, *GRID) and (np.asarray(shares) >= 0).all()
        np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(mixture(*soft)[:, :K], SOFT.assignment, rtol=1e-6)
    np.testing.assert_allclose(mixture(soft[0], None)[:, :K], SOFT.assignment, rtol=1e-6)


def test_a_part_that_moves_paints_the_same_elsewhere(variables):
    first, second = (PAINT(variables, CODES, one_cell(*cell), FEATURES) for cell in ((1, 1), (2, 3)))
    np.testing.assert_allclose(first.image[:, 2:4, 3:6], second.image[:, 4:6, 9:12], rtol=1e-4, atol=1e-4)
    # Cells that are background both times change only with what the background says.
    still = {**variables, "params": {**variables["params"], "background": jax.tree.map(jnp.zeros_like, variables["params"]["background"])}}
    first, second = (PAINT(still, CODES, one_cell(*cell), FEATURES).image for cell in ((1, 1), (2, 3)))
    moved = np.abs(np.asarray(first - second)).max((0, 3)) > 1e-4
    assert moved[2:4, 3:6].all() and moved[4:6, 9:12].all() and moved.sum() == 12


def test_a_part_paints_where_it_looks_and_an_absent_one_nothing(variables):
    parts = one_cell(1, 2)
    image = PAINT(variables, CODES, parts, FEATURES).image
    other = PAINT(variables, CODES + np.array([1.0, 0.0])[:, None], parts, FEATURES).image
    changed = np.asarray(image != other).any((0, 3))
    assert changed[2:4, 6:9].all() and changed.sum() == 6
    absent = PAINT(variables, CODES + np.array([0.0, 1.0])[:, None], parts, FEATURES).image
    np.testing.assert_array_equal(image, absent)


def test_gradients_reach_codes_assignment_and_background(variables):
    def error(codes, assignment, features):
        parts = SOFT.replace(assignment=assignment, centroid=readout.centroid(assignment))
        return jnp.sum(DECODER.apply(variables, codes, parts, features, SHAPE).image ** 2)

    for gradient in jax.jit(jax.grad(error, (0, 1, 2)))(CODES, SOFT.assignment, FEATURES):
        assert np.isfinite(gradient).all() and (np.abs(gradient).max(axis=tuple(range(2, gradient.ndim))) > 0).all()


def test_without_a_background_the_last_layer_is_the_same_for_every_image():
    parts = make_parts(np.asarray(SOFT.assignment))
    variables = random_variables(parts)
    assert "background" not in variables["params"]
    layers = np.asarray(PAINT(variables, CODES, parts, FEATURES).layers)
    np.testing.assert_array_equal(layers[0, K], layers[1, K])
    assert not np.allclose(layers[0, 0], layers[1, 0])


def test_a_single_part_and_grey_images():
    whole = jnp.ones((B, 1, *GRID))
    parts = Parts(whole, whole, None, None, None, readout.presence(whole), readout.centroid(whole))
    painted = jax.eval_shape(lambda: DECODER.init_with_output(jax.random.key(0), CODES[:, :1], parts, FEATURES, (4, 4, 1))[0])
    assert painted.image.shape == (B, 4, 4, 1) and painted.layers.shape == (B, 2, 4, 4, 1)


def test_it_learns_two_images():
    y, x = np.mgrid[:8, :12]
    image = np.stack([np.where((y < 4)[..., None], [0.9, 0.1, 0.2], [0.1, 0.3, 0.8]), np.where((x < 6)[..., None], [0.2, 0.9, 0.1], [0.9, 0.9, 0.2])])
    halves = np.zeros((B, K + 1, *GRID))
    halves[0, 0, :2], halves[0, 1, 2:], halves[1, 0, :, :2], halves[1, 1, :, 2:] = 1, 1, 1, 1
    parts, optimizer = make_parts(halves), optax.adam(1e-2)

    def error(variables):
        return jnp.mean((DECODER.apply(variables, CODES, parts, FEATURES, SHAPE).image - image) ** 2)

    @jax.jit
    def train(variables):
        def step(carry, _):
            value, gradient = jax.value_and_grad(error)(carry[0])
            update, state = optimizer.update(gradient, carry[1])
            return (optax.apply_updates(carry[0], update), state), value

        return jax.lax.scan(step, (variables, optimizer.init(variables)), length=100)[1]

    errors = train(jax.jit(INIT)(CODES, parts, FEATURES))
    assert errors[-1] < errors[0] / 10


def test_at_first_a_block_is_of_one_colour():
    kernel = np.asarray(flat_blocks(jax.random.key(0), (8, 2 * 3 * 3), 3)).reshape(8, 6, 3)
    np.testing.assert_array_equal(kernel, kernel[:, :1].repeat(6, 1))
    assert kernel[:, 0].std() == pytest.approx(8**-0.5, rel=0.5) and (kernel[:, 0, 0] != kernel[:, 0, 1]).all()


def test_mistakes_are_named():
    with pytest.raises(UserError, match="decoder: image of 9x12, map of 4x4; expected multiples"):
        DECODER.init(jax.random.key(0), CODES, SOFT, FEATURES, (9, 12, 3))
    with pytest.raises(UserError, match="decoder: 0 hidden units"):
        PartDecoder(hidden=0).init(jax.random.key(0), CODES, SOFT, FEATURES, SHAPE)
