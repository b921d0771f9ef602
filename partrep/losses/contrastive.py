"""Contrastive losses: pairs drawn together or pushed beyond a margin, and softmax over the batch (NT-Xent, SupCon)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from partrep.losses.pairs import (
    Similarity,
    check_choice,
    check_positive,
    cosine,
    distances,
    masked_logsumexp,
    over_anchors,
    ratio,
)
from partrep.shapes import check_shapes


def contrastive(
    embeddings: Any,
    labels: jax.Array,
    margin: float = 0.7,
    average: str = "all",
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """Positive pairs come together, negative ones go a margin apart.

        l = 1/n sum_{i != j} ( y_ij d_ij^2 / 2 + (1 - y_ij) max(0, m - d_ij)^2 / 2 ),    d_ij^2 = 2 - 2 s_ij

    with `y_ij = 1` for equal labels and n the number of ordered pairs that are compared.

    Args:
        embeddings: [B,E], or what `similarity` takes: a pytree of arrays [B,...].
        labels: int [B].
        margin: `m`, a distance: between unit vectors it is at most 2.
        average: `all` as above. `nonzero` is the mean over positive pairs that cost something plus the mean over
            negative pairs that do.
        where: bool [B]; false examples are ignored, whatever they hold.
        similarity: of two examples, `s`: `cosine`, `euclidean_similarity` (d is then the distance of the vectors as
            they are) or `aligned_cosine` of `partrep.losses.pairs`, or one of your own.
        block: anchors at a time, for memory that grows with B and not with its square; None takes all at once.

    Returns:
        f32 scalar >= 0 (per batch); 0 where nothing can be compared.

    Raises:
        ValueError: shapes that do not agree, another `average`, a block below 1.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> round(float(contrastive(x, jnp.array([0, 0, 1]))), 4)   # (2 * 1 + 2 * 0.49 / 2 + 2 * 0) / 6
        0.415

    Source: Hadsell, Chopra and LeCun 2006, equation 4; with margins 0.7 to 0.85 for unit vectors Radenovic et al. 2019.
    Departures: a mean over pairs. The source and the code of Radenovic et al. sum: times n, of the pairs given. The
    default of pytorch-metric-learning is `nonzero` with distances not squared, margins 0 and 1. Vectors nearer than
    1e-3 coincide, as float32 cosines cannot tell their distance: a positive pair of them costs nothing, a negative one
    m^2 / 2, without gradient, which has no direction there.
    """
    check_choice("contrastive", "average", average, ("all", "nonzero"))

    def terms(s: jax.Array, positive: jax.Array, negative: jax.Array) -> tuple[jax.Array, ...]:
        squared = jnp.maximum(2.0 - 2.0 * s, 0.0)
        distance = distances(squared)
        pull = jnp.where(positive & (distance > 0), 0.5 * squared, 0.0)
        push = jnp.where(negative, 0.5 * jax.nn.relu(margin - distance) ** 2, 0.0)
        if average == "nonzero":
            positive, negative = pull > 0, push > 0
        return pull.sum(1), positive.sum(1), push.sum(1), negative.sum(1)

    pull, positives, push, negatives = over_anchors(
        "contrastive", terms, embeddings, labels, where, similarity, block
    )
    if average == "nonzero":
        return ratio(pull, positives) + ratio(push, negatives)
    return ratio(pull + push, positives + negatives)


def supervised_contrastive(
    embeddings: Any,
    labels: jax.Array,
    temperature: float = 0.1,
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """Of all other examples, an anchor picks those of its class.

        l = mean_i -1/|P_i| sum_{p in P_i} log( exp(s_ip / T) / sum_{a != i} exp(s_ia / T) )

    with `P_i` the other examples of i's label; the mean is over anchors that have any. The mean over positives stands
    outside of the logarithm (`L_out` of the source), and all of them are in the denominator: with n positives the
    least value is log n.

    Args:
        embeddings: [B,E], or what `similarity` takes: a pytree of arrays [B,...].
        labels: int [B].
        temperature: `T` > 0.
        where: bool [B]; false examples are ignored, whatever they hold.
        similarity: of two examples, `s`: `cosine`, `euclidean_similarity` or `aligned_cosine` of
            `partrep.losses.pairs`, or one of your own.
        block: anchors at a time, for memory that grows with B and not with its square; None takes all at once.

    Returns:
        f32 scalar >= 0 (per batch); 0 where no example has a positive.

    Raises:
        ValueError: shapes that do not agree, a temperature that is not above 0, a block below 1.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> round(float(supervised_contrastive(x, jnp.array([0, 0, 1]), temperature=1.0)), 4)   # log(1 + 1/e)
        0.3133

    Source: Khosla et al. 2020, equation 2, temperature 0.1.
    Departures: anchors without a positive are left out of the mean; the released code divides by zero there. It also
    multiplies by T / 0.07 (its base temperature) and has T = 0.07: for its values multiply by T / 0.07 as well.
    pytorch-metric-learning averages over anchors whose loss is not 0, and gives 0 where a batch has one class only.
    """
    check_positive("supervised_contrastive", temperature=temperature)

    def terms(s: jax.Array, positive: jax.Array, negative: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits, count = s / temperature, positive.sum(1)
        others = masked_logsumexp(logits, positive | negative)
        missing = jnp.where(positive, others[:, None] - logits, 0.0)
        return missing.sum(1) / jnp.maximum(count, 1), count > 0

    return ratio(*over_anchors("supervised_contrastive", terms, embeddings, labels, where, similarity, block))


def nt_xent(
    first: Any,
    second: Any,
    temperature: float = 0.1,
    where: jax.Array | None = None,
    similarity: Similarity = cosine,
    block: int | None = None,
) -> jax.Array:
    """Of all other views in the batch, a view picks the second one of its own image.

        l = 1/(2B) sum_i -log( exp(s_ij / T) / sum_{a != i} exp(s_ia / T) )

    over the 2B views i, with j the other view of the same image. It is `supervised_contrastive` of the 2B views with
    the image as label: one positive each, and all views of other images negative.

    Args:
        first: [B,E] embeddings of one view of each image, or what `similarity` takes: a pytree of arrays [B,...].
        second: the same of the other view.
        temperature: `T` > 0.
        where: bool [B]; false images are ignored in both views, whatever they hold.
        similarity: of two views, `s`: `cosine`, `euclidean_similarity` or `aligned_cosine` of
            `partrep.losses.pairs`, or one of your own.
        block: anchors at a time, of the 2B, for memory that grows with B and not with its square; None takes all.

    Returns:
        f32 scalar >= 0 (per batch); 0 for one image, and where no image counts.

    Raises:
        ValueError: shapes that do not agree, a temperature that is not above 0, a block below 1.

    Example:
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> round(float(nt_xent(x, x, temperature=1.0)), 4)   # log(1 + 2/e)
        0.5514

    Source: Chen et al. 2020 (SimCLR), equation 1; temperature 0.1 on ImageNet, 0.5 on CIFAR-10.
    Departures: none. With more than two views of an image pytorch-metric-learning leaves the other positives out of
    each denominator; `supervised_contrastive` keeps them.
    """
    trees: list[Any] = [jax.tree.structure(view) for view in (first, second)]
    if trees[0] != trees[1]:
        raise ValueError(f"nt_xent: first is {trees[0]}, second {trees[1]}; expected the same arrays of both views")
    if not all(map(jnp.ndim, jax.tree.leaves(first))) or not jax.tree.leaves(first):
        raise ValueError(f"nt_xent: first is {trees[0]} of numbers; expected arrays [B,...]")
    images = jnp.arange(len(jax.tree.leaves(first)[0]))
    check_shapes("nt_xent", images=(images, "B"), where=(where, "B"))
    for one, other in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        if jnp.shape(one) != jnp.shape(other):
            raise ValueError(f"nt_xent: second has shape {jnp.shape(other)}; expected {jnp.shape(one)} as first")
    views = jax.tree.map(lambda *pair: jnp.concatenate(pair), first, second)
    where = None if where is None else jnp.tile(jnp.asarray(where, bool), 2)
    return supervised_contrastive(views, jnp.tile(images, 2), temperature, where, similarity, block)
