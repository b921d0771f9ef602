"""Linear part detectors: near to their assignment, different, decided, and each for few classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.losses.entropy import SMALLEST_SHARE, assignment_entropy
from partrep.losses.orthogonality import orthogonality
from partrep.shapes import check_shapes

SMALLEST_WEIGHT = 1e-12


def assignment_agreement(
    similarity: jax.Array, target: jax.Array, temperature: float = 1.0, where: jax.Array | None = None
) -> jax.Array:
    """Each part scores the region it was given above the others, `l_b = -mean_k sum_n m_kn log softmax_n(s_kn / t)`.

    The mean is over the parts that count in the image, such as those of its class.

    Args:
        similarity: [B,K,h,w], `s`.
        target: [B,K,h,w] >= 0, `m`, with sums over locations of 1; gets no gradient.
        temperature: > 0, `t`, in units of the similarity.
        where: bool [B,K], the parts that count in each image; None counts all. What lies under a false `where` may
            be NaN and gets no gradient.

    Returns:
        f32 [B] >= 0 (per example), log(h*w) for a flat similarity; 0 where no part counts.

    Raises:
        ValueError: shapes that do not agree, a temperature that is not positive.

    Example:
        >>> s = jnp.array([[[[0.0, 0.0, 0.0, 0.0]]]])
        >>> round(float(assignment_agreement(s, jnp.array([[[[1.0, 0.0, 0.0, 0.0]]]]))[0]), 4)
        1.3863

    Source: this library: the assignment of Sicre et al. (2017, arXiv 1611.04413), which there chooses the regions
    that the next part classifiers are fitted to, as a target inside the step. `where` is theirs too: a part is
    matched in the images of its class.
    """
    shapes = {"target": (target, "B K h w"), "where": (where, "B K")}
    check_shapes("assignment_agreement", similarity=(similarity, "B K h w"), **shapes)
    if temperature <= 0:
        raise ValueError(f"assignment_agreement: temperature is {temperature}; expected it positive")
    flat = similarity.astype(jnp.float32).reshape(*similarity.shape[:2], -1) / temperature
    wanted = jax.lax.stop_gradient(target).astype(jnp.float32).reshape(flat.shape)
    counts = jnp.ones(flat.shape[:2], bool) if where is None else jnp.asarray(where)
    flat, wanted = (jnp.where(counts[..., None], x, 0.0) for x in (flat, wanted))  # before the logarithm: no NaN stays
    by_part = -jnp.sum(wanted * jax.nn.log_softmax(flat, axis=-1), axis=-1)
    return jnp.sum(by_part, axis=-1) / jnp.maximum(jnp.sum(counts, axis=-1), 1)


def query_diversity(queries: jax.Array) -> jax.Array:
    """Detectors that differ, `l = |Q Q^T - I|_F^2`, rows of `Q` the queries at length one.

    Args:
        queries: [K,D].

    Returns:
        f32 scalar in [0, K(K-1)] (per parameter); 0 for orthogonal queries. A zero query counts 0.

    Raises:
        ValueError: not two axes.

    Example:
        >>> round(float(query_diversity(jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]))), 4)
        2.0

    Source: DP-Net (2024, arXiv 2404.15037), part diversity; the form is recalled at low confidence, and no weight.
    It is K^2 times `orthogonality` of the queries.
    """
    parts = check_shapes("query_diversity", queries=(queries, "K D"))["K"]
    return parts**2 * orthogonality(queries)


def decisiveness(similarity: jax.Array) -> jax.Array:
    """Each region is for one part, `l_b = mean_n H(softmax_k s_kn)`, in nats: low is decided.

    Args:
        similarity: [B,K,h,w], `s`; divide it by a temperature first where its scale is not that of logits.

    Returns:
        f32 [B] in [0, log K] (per example).

    Raises:
        ValueError: not four axes.

    Example:
        >>> round(float(decisiveness(jnp.zeros((1, 2, 3, 3)))[0]), 4)
        0.6931

    Source: DP-Net (2024, arXiv 2404.15037), decisive assignment of regions to parts; the form is recalled at low
    confidence, and no weight. It is `assignment_entropy` of the softmax over parts.
    """
    check_shapes("decisiveness", similarity=(similarity, "B K h w"))
    return assignment_entropy(jax.nn.softmax(similarity.astype(jnp.float32), axis=1))


def class_usage(kernel: jax.Array) -> jax.Array:
    """Each part serves few classes, `l = mean_k H(p_k)`, `p_kc = sum_m |W_kmc| / sum_mc |W_kmc|`, in nats.

    Args:
        kernel: [K,M,C], `W`, weights of a linear classifier of all parts side by side.

    Returns:
        f32 scalar in [0, log C] (per parameter): low is class-specific. A part without weights counts 0.

    Raises:
        ValueError: not three axes.

    Example:
        >>> kernel = jnp.array([[[2.0, 0.0], [-1.0, 0.0]], [[1.0, -1.0], [0.0, 0.0]]])
        >>> round(float(class_usage(kernel)), 4)
        0.3466

    Source: DP-Net (2024, arXiv 2404.15037), class-specific usage of parts; the form is recalled at low confidence,
    and no weight.
    """
    check_shapes("class_usage", kernel=(kernel, "K M C"))
    weight = jnp.sum(jnp.abs(kernel.astype(jnp.float32)), axis=1)
    share = weight / jnp.maximum(jnp.sum(weight, axis=1, keepdims=True), SMALLEST_WEIGHT)
    return -jnp.mean(jnp.sum(share * jnp.log(jnp.maximum(share, SMALLEST_SHARE)), axis=1))
