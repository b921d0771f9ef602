"""Exact Shapley values, of any game given by the value of every subset and of regions of an image.

Row r of the 2^R values is the subset that holds player i where bit i of r is set: row 0 is nobody, the last row
everybody.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.explain.baselines import Baseline, baseline_images
from partrep.explain.maps import is_flat
from partrep.explain.model import Explained, check_inputs, logits_of_views
from partrep.shapes import check_shapes

MOST_REGIONS = 10


def subsets(players: int) -> np.ndarray:
    """All subsets of the players, bool [2^R,R], in the order of the rows.

    >>> subsets(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    return (np.arange(1 << players)[:, None] >> np.arange(players)) % 2 == 1


@functools.cache
def _weights(players: int) -> np.ndarray:
    """The matrix [2^R,R] that turns the values of all subsets into Shapley values."""
    member = subsets(players)
    size = np.arange(players)
    share = np.array([math.factorial(s) * math.factorial(players - s - 1) for s in size]) / math.factorial(players)
    others = member.sum(axis=1, keepdims=True) - member
    return np.where(member, 1, -1) * share[np.minimum(others, players - 1)]


def _players(function: str, values: jax.Array) -> int:
    count = np.shape(values)[-1] if np.ndim(values) else 0
    players = count.bit_length() - 1
    if players < 1 or count != 1 << players:
        raise ValueError(f"{function}: values has shape {np.shape(values)}; expected a last axis of 2, 4, 8, ...")
    return players


def shapley_values(values: jax.Array) -> jax.Array:
    """Each player's fair share, `phi_i = sum_{S without i} |S|! (R-|S|-1)! / R! (v(S + i) - v(S))`.

    They sum to `v(all) - v(nobody)`; in an additive game they are the addends.

    Args:
        values: [...,2^R], `v` of every subset, bit i of the row telling whether player i is in.

    Returns:
        f32 [...,R].

    Raises:
        ValueError: a last axis that is no power of two from 2 on.

    Example:
        >>> shapley_values(jnp.array([0.0, 1.0, 3.0, 10.0])).tolist()
        [4.0, 6.0]

    Source: Shapley, A value for n-person games (1953).
    Departures: none.
    """
    weights = jnp.asarray(_weights(_players("shapley_values", values)), jnp.float32)
    v = jnp.asarray(values, jnp.float32)
    # The shares do not depend on the value of nobody; without it less is lost to rounding.
    return jnp.matmul(v - v[..., :1], weights, precision="highest")


def interaction_share(values: jax.Array) -> jax.Array:
    """How far a game is from additive: `sum_S (v(S) - a(S))^2 / sum_S (v(S) - mean v)^2`.

    `a` is the additive game `a_0 + sum_{i in S} a_i` nearest to `v` in the mean square over all subsets: the
    share of the variance that no sum of parts explains. One less it is the additive share.

    Args:
        values: [...,2^R], `v` of every subset, in the order of `shapley_values`.

    Returns:
        f32 [...] in [0,1]; 0 for an additive game, a constant one (its range under 1e-6 of its greatest size)
        among them.

    Raises:
        ValueError: a last axis that is no power of two from 2 on.

    Example:
        >>> round(float(jax.jit(interaction_share)(jnp.array([0.0, 0.0, 0.0, 1.0]))), 4)
        0.3333

    Source: Hammer and Holzman, Approximations of pseudo-Boolean functions (1992): the nearest additive game has
    `a_i` the mean of v with i less that without (the Banzhaf value).
    Departures: none.
    """
    players = _players("interaction_share", values)
    v = jnp.asarray(values, jnp.float32)
    sign = jnp.asarray(np.where(subsets(players), 1.0, -1.0), jnp.float32)
    centred = v - jnp.mean(v, axis=-1, keepdims=True)
    effect = jnp.matmul(centred, sign, precision="highest") / len(sign)
    rest = centred - jnp.matmul(effect, sign.T, precision="highest")
    flat = is_flat(jnp.min(v, axis=-1), jnp.max(v, axis=-1))
    variance = jnp.mean(centred**2, axis=-1)
    return jnp.where(flat, 0.0, jnp.mean(rest**2, axis=-1) / jnp.where(flat, 1.0, variance))


def label_masks(labels: jax.Array, regions: int) -> jax.Array:
    """The regions of a map of labels: i32 [B,H,W] -> bool [B,R,H,W]; other labels, as -1, are in no region.

    >>> label_masks(jnp.array([[[0, 1, -1]]]), 2).astype(int).tolist()
    [[[[1, 0, 0]], [[0, 1, 0]]]]
    """
    check_shapes("label_masks", labels=(labels, "B H W"))
    return labels[:, None] == jnp.arange(regions)[:, None, None]


def region_values(
    model: Explained,
    images: jax.Array,
    target: jax.Array,
    regions: jax.Array,
    baseline: Baseline = None,
    block: int = 16,
) -> jax.Array:
    """The class logit with every subset of the regions present, f32 [B,2^R]; arguments as `region_shapley`.

    Raises as `region_shapley`.

    >>> model = Explained(lambda x: x, lambda z: z.sum((1, 2)))
    >>> regions = label_masks(jnp.array([[[0, 1]]]), 2)
    >>> images = jnp.array([[[[1.0], [5.0]]]])
    >>> jax.jit(region_values, static_argnums=0)(model, images, jnp.array([0]), regions, 0.0).tolist()
    [[0.0, 1.0, 5.0, 6.0]]
    """
    images = check_inputs("region_values", images, target)
    shapes = {"images": (images, "B H W c"), "regions": (regions, "B R H W")}
    players = check_shapes("region_values", **shapes)["R"]
    if not 1 <= players <= MOST_REGIONS:
        raise UserError(f"found {players} regions; expected 1 to {MOST_REGIONS}, as every subset is evaluated")
    masks, fill = jnp.asarray(regions).astype(bool), baseline_images(images, baseline)

    def shown(present: jax.Array) -> jax.Array:
        gone = jnp.any(masks & ~present[:, None, None], axis=1)
        return jnp.where(gone[..., None], fill, images)

    return logits_of_views(model, shown, jnp.asarray(subsets(players)), target, block).T


def region_shapley(
    model: Explained,
    images: jax.Array,
    target: jax.Array,
    regions: jax.Array,
    baseline: Baseline = None,
    block: int = 16,
) -> jax.Array:
    """Exact Shapley values of the regions of an image, from the class logit of all 2^R subsets of them.

    They sum to the logit of the image less that of the image with all regions absent.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].
        regions: bool [B,R,H,W], R of 1 to 10; see `label_masks` for labels. A pixel of several regions is
            shown while all of them are present, one of none always.
        baseline: what fills absent regions: a number, a colour [3], images (as from `baselines.blur`), or None
            for each image's mean colour.
        block: subsets whose images are held at once.

    Returns:
        f32 [B,R], signed; 0 for an empty region.

    Raises:
        UserError: no region or more than 10, a baseline of another shape, a block under 1.
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z.sum((1, 2)) ** 2)
        >>> regions = label_masks(jnp.array([[[0, 1]]]), 2)
        >>> images = jnp.array([[[[1.0], [5.0]]]])
        >>> jax.jit(region_shapley, static_argnums=0)(model, images, jnp.array([0]), regions, 0.0).tolist()
        [[6.0, 30.0]]

    Source: Lundberg and Lee, A unified approach to interpreting model predictions (NeurIPS 2017), equation 8.
    Departures: regions are filled with a baseline, not averaged over a distribution of images.
    """
    return shapley_values(region_values(model, images, target, regions, baseline, block))


def shapley_map(
    model: Explained,
    images: jax.Array,
    target: jax.Array,
    regions: jax.Array,
    baseline: Baseline = None,
    block: int = 16,
) -> jax.Array:
    """The Shapley values of regions as a map, each spread evenly over the pixels of its region.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].
        regions: bool [B,R,H,W], R of 1 to 10.
        baseline: as `region_shapley`.
        block: as `region_shapley`.

    Returns:
        f32 [B,H,W], signed, with the sum of the Shapley values.

    Raises:
        UserError, ValueError: as `region_shapley`.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z.sum((1, 2)))
        >>> regions = label_masks(jnp.array([[[0, 0, 1]]]), 2)
        >>> images = jnp.array([[[[1.0], [2.0], [5.0]]]])
        >>> jax.jit(shapley_map, static_argnums=0)(model, images, jnp.array([0]), regions, 0.0).tolist()
        [[[1.5, 1.5, 5.0]]]

    Source: as `region_shapley`.
    Departures: none.
    """
    shares = region_shapley(model, images, target, regions, baseline, block)
    masks = jnp.asarray(regions).astype(jnp.float32)
    area = jnp.maximum(jnp.sum(masks, axis=(2, 3)), 1.0)
    return jnp.einsum("br,brhw->bhw", shares / area, masks, precision="highest")
