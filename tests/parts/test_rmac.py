"""R-MAC against loops over cells, its regions against the published rule, and the grid as a part method."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep.parts.rmac import Rmac, region_max, rmac, rmac_regions

RNG = np.random.default_rng(0)
FEATURES = np.maximum(RNG.normal(size=(2, 5, 8, 6)), 0)
SHAPES = [(1, 1), (3, 3), (7, 7), (5, 8), (14, 9), (4, 32), (2, 5), (1, 6)]


def naive_regions(h, w, levels):
    """As the paper words it: steps along the longer side by overlap, and centres evenly from edge to edge."""
    short, best, extra = min(h, w), math.inf, 0
    for steps in range(2, 8):
        stride = (max(h, w) - short) / (steps - 1)
        overlap = (short**2 - short * stride) / short**2
        if h != w and abs(overlap - 0.4) < best - 1e-12:
            best, extra = abs(overlap - 0.4), steps - 1
    regions = []
    for level in range(1, levels + 1):
        side = math.floor(2 * short / (level + 1))
        if side == 0:
            continue
        starts = []
        for length, count in ((h, level + (extra if h > w else 0)), (w, level + (extra if w > h else 0))):
            stride = 0.0 if count == 1 else (length - side) / (count - 1)
            starts.append([math.floor(i * stride + 1e-9) for i in range(count)])
        regions += [(y, x, y + side, x + side) for y in starts[0] for x in starts[1]]
    return regions


def unit(x):
    norm = math.sqrt(sum(a * a for a in x))
    return np.array([a / norm if norm else 0.0 for a in x])


def naive(z, regions, matrix=None, shift=0.0):
    """One image, cell by cell in float64."""
    total = 0.0
    for y0, x0, y1, x1 in regions:
        cells = [z[y, x] for y in range(y0, y1) for x in range(x0, x1)]
        vector = unit([max(cell[d] for cell in cells) for d in range(z.shape[-1])])
        total = total + (vector if matrix is None else unit(matrix @ (vector - shift)))
    return unit(total)


@pytest.mark.parametrize("height, width", SHAPES)
@pytest.mark.parametrize("levels", [1, 3])
def test_regions_against_the_rule(height, width, levels):
    found = rmac_regions(height, width, levels)
    assert list(found) == naive_regions(height, width, levels)
    assert all(0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width and y1 - y0 == x1 - x0 for y0, x0, y1, x1 in found)
    turned = {(x0, y0, x1, y1) for y0, x0, y1, x1 in found}
    assert turned == set(rmac_regions(width, height, levels))


def test_known_grids():
    assert [len(rmac_regions(7, 7, levels)) for levels in (1, 2, 3)] == [1, 5, 14]
    # 5 x 8: at scale 1 two squares of side 5 overlap by 0.4, so there are 2, 2 x 3 and 3 x 4.
    assert len(rmac_regions(5, 8, 3)) == 2 + 6 + 12
    assert rmac_regions(5, 8, 1) == ((0, 0, 5, 5), (0, 3, 5, 8))


def test_the_descriptor_against_cells():
    regions = naive_regions(5, 8, 3)
    got = jax.jit(rmac)(jnp.float32(FEATURES))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, [naive(z, regions) for z in FEATURES], atol=1e-6)
    matrix, shift = RNG.normal(size=(4, 6)), RNG.normal(size=6) * 0.1
    white = jax.jit(lambda z: rmac(z, 3, lambda f: (f - jnp.float32(shift)) @ jnp.float32(matrix).T))
    got = white(jnp.float32(FEATURES))
    np.testing.assert_allclose(got, [naive(z, regions, matrix, shift) for z in FEATURES], atol=1e-5)


def test_one_scale_of_a_square_map_is_its_maximum():
    z = FEATURES[:, :, :5]
    np.testing.assert_allclose(jax.jit(rmac, static_argnums=1)(jnp.float32(z), 1), [unit(one.max((0, 1))) for one in z], atol=1e-6)


def test_mirrored_images_have_the_same_descriptor_where_the_grid_is_symmetric():
    z = jnp.float32(RNG.uniform(size=(1, 8, 8, 5)))  # starts 0, 3 and 0, 2, 4: sides 5 and 4
    mirrored = [(y0, 8 - x1, y1, 8 - x0) for y0, x0, y1, x1 in rmac_regions(8, 8, 3)]
    assert set(mirrored) == set(rmac_regions(8, 8, 3))
    one, two = jax.jit(rmac)(jnp.concatenate([z, z[:, :, ::-1]]))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_zeros_give_zeros_and_finite_gradients():
    zeros = jnp.zeros((1, 4, 4, 3))
    value, gradient = jax.jit(jax.value_and_grad(lambda z: rmac(z, 2).sum()))(zeros)
    assert value == 0 and np.isfinite(gradient).all()


def test_the_grid_as_a_part_method():
    both = jax.jit(lambda z: (Rmac(levels=2).apply({}, z, train=True), rmac(z, 2)))
    parts, descriptor = both(jnp.asarray(FEATURES, jnp.bfloat16))
    regions = rmac_regions(5, 8, 2)
    assert parts.vectors.shape == (2, len(regions), 6) and parts.vectors.dtype == jnp.float32
    for mask, centre, (y0, x0, y1, x1) in zip(np.asarray(parts.assignment)[1], np.asarray(parts.centroid)[1], regions):
        assert mask.sum() == (y1 - y0) * (x1 - x0) and (mask[y0:y1, x0:x1] == 1).all()
        np.testing.assert_allclose(centre, [(y0 + y1) / 10, (x0 + x1) / 16], atol=1e-6)
    total = np.asarray(parts.vectors).sum(1)
    np.testing.assert_allclose(total / np.linalg.norm(total, axis=1, keepdims=True), descriptor, atol=1e-6)


def test_bad_input_is_named():
    z = jnp.float32(FEATURES)
    for call, message in [
        (lambda: rmac_regions(0, 4), "map of 0 x 4"),
        (lambda: rmac(z, 0), "0 levels"),
        (lambda: rmac(z[0]), "features has shape"),
        (lambda: region_max(z, ()), "no regions"),
        (lambda: region_max(z, ((0, 0, 6, 2),)), r"region \(0, 0, 6, 2\) in a map of 5 x 8 cells"),
        (lambda: region_max(z, ((2, 2, 2, 3),)), r"region \(2, 2, 2, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
