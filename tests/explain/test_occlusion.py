"""Occlusion against a loop over windows, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from partrep import UserError
from partrep.explain.model import Explained
from partrep.explain.occlusion import occlusion, window_places

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(size=(2, 5, 6, 3)).astype(np.float32)
WEIGHTS = RANDOM.normal(size=(5, 6, 3, 4)).astype(np.float32)
TARGET = np.array([3, 1])
CURVED = Explained(lambda x: x, lambda z: jnp.tanh(jnp.einsum("bhwc,hwck->bk", z, WEIGHTS)))


def oracle(window, stride, baseline):
    def logit(images):
        return np.tanh(np.einsum("bhwc,hwck->bk", images, WEIGHTS.astype(np.float64)))[[0, 1], TARGET]

    total, count = np.zeros((2, 5, 6)), np.zeros((5, 6))
    tops, lefts = (sorted({*range(0, side - window + 1, stride), side - window}) for side in (5, 6))
    for top in tops:
        for left in lefts:
            hidden = IMAGES.astype(np.float64)
            place = (slice(None), slice(top, top + window), slice(left, left + window))
            hidden[place] = np.broadcast_to(baseline, IMAGES.shape)[place]
            total[place] += (logit(IMAGES) - logit(hidden))[:, None, None]
            count[place[1:]] += 1
    assert count.min() >= 1
    return total / count


@pytest.mark.parametrize(
    "window, stride, baseline, block",
    [(2, 1, 0.5, 16), (3, 2, [0.1, 0.2, 0.3], 1), (2, 2, None, 4)],
)
def test_occlusion_against_a_loop_over_windows(window, stride, baseline, block):
    explain = jax.jit(lambda x, c: occlusion(CURVED, x, c, window, stride, baseline, block))
    want = oracle(window, stride, IMAGES.mean((1, 2), keepdims=True) if baseline is None else baseline)
    np.testing.assert_allclose(explain(IMAGES, TARGET), want, atol=1e-5)


def test_single_pixels_of_a_linear_model_get_what_they_add():
    linear = Explained(lambda x: x, lambda z: jnp.einsum("bhwc,hwck->bk", z, WEIGHTS))
    explain = jax.jit(lambda x, c: occlusion(linear, x, c, window=1, stride=1, baseline=0.0))
    want = np.einsum("bhwc,hwcb->bhw", IMAGES, WEIGHTS[..., TARGET])
    np.testing.assert_allclose(explain(IMAGES, TARGET), want, atol=1e-5)


@pytest.mark.parametrize("length, window, stride", [(7, 3, 2), (8, 3, 2), (9, 4, 4), (4, 4, 1)])
def test_every_pixel_is_covered_by_windows_of_the_given_size(length, window, stride):
    places = window_places(length, window, stride)
    assert (places.sum(1) == window).all() and places.any(0).all()


def test_windows_out_of_range_are_refused():
    for window, stride in ((6, 1), (2, 3), (2, 0)):
        with pytest.raises(UserError, match=f"a window of {window} moved by {stride} on 5 x 6 pixels"):
            occlusion(CURVED, IMAGES, TARGET, window, stride)
