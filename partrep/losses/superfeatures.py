"""Super-features: which local features of two images match, and a contrastive loss of those that do."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.losses.pairs import EXACT, check_positive, distances
from partrep.shapes import check_shapes


def reciprocal_pairs(distances: jax.Array, ratio: float = 0.9, both: bool = False, axis: int = 1) -> jax.Array:
    """Which features of two images are each other's nearest, where no other of the first image is nearly as near.

        v_ij = [ i = argmin_a d_aj  and  j = argmin_b d_ib  and  d_ij <= r min_{a != i} d_aj ]

    Args:
        distances: [N,L] >= 0, `d`, between features of a first and a second image; inf for one that is absent. Of many
            pairs of images, with any further axes behind the first.
        ratio: `r` > 0, of the nearest distance to the second nearest (Lowe's ratio); from 1 on every nearest pair is
            accepted.
        both: whether the first image's feature is asked the same, `d_ij <= r min_{b != j} d_ib`: then the order of the
            images does not matter.
        axis: that of the L features of the second image.

    Returns:
        bool, the shape of `distances`, with at most one true entry a row and a column. A feature with two equally near
        ones has no nearest; one without a second to compare with passes the test.

    Raises:
        ValueError: fewer than two axes, a ratio that is not above 0.

    Example:
        >>> reciprocal_pairs(jnp.array([[0.1, 0.9], [1.0, 0.5], [0.8, 0.52]])).tolist()  # 0.5 is over 0.9 * 0.52
        [[True, False], [False, False], [False, False]]

    Source: Lowe 2004, section 7.1; its place here, the second image's feature against all of the first image,
    Weinzaepfel et al. 2022, equation 3.
    Departures: none from the paper. The released code of Weinzaepfel et al. divides by the argmin of the other
    distances, the index of the second nearest feature, where its distance belongs; the test then hangs on the order of
    the features, and passes nearly always.
    """
    if jnp.ndim(distances) < 2:
        raise ValueError(f"reciprocal_pairs: distances has shape {jnp.shape(distances)}; expected [N,L]")
    check_positive("reciprocal_pairs", ratio=ratio)
    nearest, second = _two_smallest(distances, 0)
    across, next_across = _two_smallest(distances, axis)
    alone = (nearest < second) & (across < next_across)
    limit = ratio * (jnp.minimum(second, next_across) if both else second)
    return alone & (distances == nearest) & (distances == across) & (distances <= limit)


def _two_smallest(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """The smallest and the second smallest along an axis, which stays as one; inf where there is none."""

    def smaller(one: tuple[jax.Array, ...], other: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        (a, second), (b, next_) = one, other
        return jnp.minimum(a, b), jnp.minimum(jnp.maximum(a, b), jnp.minimum(second, next_))

    nothing = jnp.asarray(jnp.inf, x.dtype)
    found = jax.lax.reduce((x, jnp.full_like(x, nothing)), (nothing, nothing), smaller, (axis % x.ndim,))
    return jnp.expand_dims(found[0], axis), jnp.expand_dims(found[1], axis)


def superfeature_matches(first: jax.Array, second: jax.Array, ratio: float = 0.9) -> jax.Array:
    """Which features of the same index match in two images: `v_nn` of `reciprocal_pairs`.

    Args:
        first: [N,D], features of an image, of any length: their unit vectors are compared.
        second: [N,D], of another image of the same thing.
        ratio: `r` > 0, of the nearest distance to the second nearest.

    Returns:
        bool [N]. A vector shorter than 1e-6 is absent: it matches none, and is nobody's second nearest.

    Raises:
        ValueError: shapes that do not agree, a ratio that is not above 0.

    Example:
        >>> first = jnp.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        >>> second = jnp.array([[1.0, 0.2, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
        >>> superfeature_matches(first, second).tolist()
        [True, True, False]

    Source: Super-features (Weinzaepfel et al. 2022), equation 3, ratio 0.9.
    Departures: none from the paper; of its released code see `reciprocal_pairs`.
    """
    check_shapes("superfeature_matches", first=(first, "N D"), second=(second, "N D"))
    return _matches(unit(first), unit(second)[None], ratio)[0]


def superfeature_contrastive(
    features: jax.Array,
    labels: jax.Array,
    margin: float = 1.1,
    ratio: float = 0.9,
    negatives: float = 5.0,
    where: jax.Array | None = None,
    block: int | None = None,
) -> jax.Array:
    """Features that match in two images of a class come together, and away from the same ones of other classes.

        l = 1/(|P| N) sum_{(i,j) in P} sum_{n in M_ij} ( d_ijn^2 / 2 + w mean_{k in N_i} max(0, m - d_ikn)^2 / 2 )

    with `d_ijn = |s_in - s_jn|` of unit vectors, P the ordered pairs of images of one class, `M_ij` the indices that
    match (`superfeature_matches` of i and j) and `N_i` the images of other classes that have feature n. A feature that
    matches nowhere costs nothing: what two images share decides what is learned of them, and no gradient flows through
    that choice.

    Args:
        features: [B,N,D], `s`, of any length: feature n of all images comes from the same query, template or part.
        labels: int [B]; batches of some classes with some images each suit.
        margin: `m`, a distance of unit vectors, at most 2.
        ratio: `r` > 0, of the nearest distance to the second nearest.
        negatives: `w`, how much the mean over negatives weighs; the source has as many negatives, and sums.
        where: bool [B]; false images are ignored, whatever they hold.
        block: anchors at a time, of B N^2 distances each, for memory that grows with B and not with its square; None
            takes all at once.

    Returns:
        f32 scalar >= 0 (per batch); 0, with a gradient of 0, where nothing matches. A vector shorter than 1e-6 is
        absent: it is neither drawn nor pushed.

    Raises:
        ValueError: shapes that do not agree, a ratio that is not above 0, a block below 1.

    Example:
        >>> x = jnp.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0]]])  # one feature: it matches
        >>> round(float(superfeature_contrastive(x, jnp.array([0, 0, 1]))), 4)   # 1 + 5 (0 + 1.1^2 / 2) / 2
        2.5125

    Source: Super-features (Weinzaepfel et al. 2022), equation 4: margin 1.1, ratio 0.9, weight 0.02, beside
    `map_decorrelation` of the attention maps with weight 0.1.
    Departures: means over pairs, features and negatives, so that neither batch nor N sets the scale: the released code
    sums over the matches of one pair and over five negatives, which is N times this loss of that ordered pair. Where
    vectors coincide, a negative costs m^2 / 2 and has no gradient, which has no direction there.
    """
    shapes = {"features": (features, "B N D"), "labels": (labels, "B"), "where": (where, "B")}
    sizes = check_shapes("superfeature_contrastive", **shapes)
    check_positive("superfeature_contrastive", ratio=ratio)
    if block is not None and block < 1:
        raise ValueError(f"superfeature_contrastive: block is {block}; expected at least 1, or None")
    batch, labels = sizes["B"], jnp.asarray(labels)
    counts = jnp.ones(batch, bool) if where is None else jnp.asarray(where, bool)
    units = unit(jnp.where(counts[:, None, None], features, 0))

    def of_anchor(anchor: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        own, label, real, position = anchor
        comparable, same = real & counts & (position != jnp.arange(batch)), labels == label
        positive, negative = comparable & same, comparable & ~same
        matched = positive[:, None] & _matches(own, units, ratio)
        squared = jnp.maximum(2.0 - 2.0 * jnp.sum(own * units, axis=-1), 0.0)  # [B,N]
        distance = distances(squared)
        pull = jnp.where(matched & (distance > 0), 0.5 * squared, 0.0).sum()
        push = _pushed(distance, negative[:, None] & _present(units), margin)
        return pull + negatives * jnp.sum(matched.sum(0) * push), positive.sum()

    anchors = (units, labels, counts, jnp.arange(batch))
    if block is None or block >= batch:
        costs, pairs = jax.vmap(of_anchor)(anchors)
    else:
        costs, pairs = jax.lax.map(jax.checkpoint(of_anchor), anchors, batch_size=block)
    return costs.sum() / jnp.maximum(pairs.sum() * sizes["N"], 1)


def _present(units: jax.Array) -> jax.Array:
    """Whether unit vectors [...,D] are none of the zeros that stand for absent ones."""
    return jnp.any(units != 0, axis=-1)


def _matches(first: jax.Array, others: jax.Array, ratio: float) -> jax.Array:
    """bool [B,N] of `superfeature_matches`, of an image [N,D] and B others [B,N,D], of unit vectors or zeros."""
    first, others = jax.lax.stop_gradient((first, others))
    cosines = jnp.einsum("nd,bmd->nmb", first, others, precision=EXACT)
    both = _present(first)[:, None, None] & _present(others).T
    distances = jnp.where(both, jnp.sqrt(jnp.maximum(2.0 - 2.0 * cosines, 0.0)), jnp.inf)
    return jnp.diagonal(reciprocal_pairs(distances, ratio))


def _pushed(distance: jax.Array, negative: jax.Array, margin: float) -> jax.Array:
    """[N], the mean of `max(0, m - d)^2 / 2` over the images [B,N] that are negative; 0 where none is."""
    cost = jnp.where(negative, 0.5 * jax.nn.relu(margin - distance) ** 2, 0.0)
    return cost.sum(0) / jnp.maximum(negative.sum(0), 1)
