"""Class-tied prototypes: near to some patch of their class, far from other classes, and few words against a class."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes


def _masked_min(distances: jax.Array, counts: jax.Array) -> jax.Array:
    """The least of the distances [B,P] that count; 0, without gradient, where none does."""
    least = jnp.min(jnp.where(counts, distances.astype(jnp.float32), jnp.inf), axis=1)
    some = jnp.any(counts, axis=1)
    return jnp.where(some, least, 0.0)


def _own(
    function: str, distances: jax.Array, prototype_classes: jax.Array, labels: jax.Array, kept: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Which prototypes are of the image's class [B,P], and which count at all [P]."""
    classes = {"prototype_classes": (prototype_classes, "P"), "labels": (labels, "B"), "kept": (kept, "P")}
    check_shapes(function, distances=(distances, "B P"), **classes)
    own = jnp.asarray(labels)[:, None] == jnp.asarray(prototype_classes)
    return own, jnp.ones(own.shape[1], bool) if kept is None else jnp.asarray(kept) > 0.5


def cluster(
    distances: jax.Array, prototype_classes: jax.Array, labels: jax.Array, kept: jax.Array | None = None
) -> jax.Array:
    """Some prototype of the image's class is near, `l_b = min {d_bp : c_p = y_b, p kept}`.

    Args:
        distances: [B,P] >= 0, `d`, squared, to the nearest location, as `nearest_distance` of
            `partrep.parts.prototypes` gives them; or any other, such as its `cosine_distance`.
        prototype_classes: int [P], `c`.
        labels: int [B], `y`.
        kept: [P], 1 or true for prototypes that were not removed; None keeps all.

    Returns:
        f32 [B] >= 0 (per example); 0 where the class has no prototype.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> d = jnp.array([[5.0, 3.0, 1.0, 2.0]])
        >>> cluster(d, jnp.array([0, 0, 1, 1]), jnp.array([0])).tolist()
        [3.0]

    Source: ProtoPNet (Chen et al. 2019), section 2.2, cluster cost, weight 0.8.
    Departures: a masked minimum. The released code takes `D - max_p (D - d_bp) [c_p = y_b]` with `D` the largest
    squared distance in [0,1]^d; where distances exceed `D` (features not in [0,1]) that is `D`, without gradient.
    """
    own, counts = _own("cluster", distances, prototype_classes, labels, kept)
    return _masked_min(distances, own & counts)


def separation(
    distances: jax.Array, prototype_classes: jax.Array, labels: jax.Array, kept: jax.Array | None = None
) -> jax.Array:
    """The nearest prototype of another class, `l_b = min {d_bp : c_p != y_b, p kept}`; its weight is negative.

    Args:
        distances: [B,P] >= 0, `d`, squared, to the nearest location, as `nearest_distance` of
            `partrep.parts.prototypes` gives them; or any other, such as its `cosine_distance`.
        prototype_classes: int [P], `c`.
        labels: int [B], `y`.
        kept: [P], 1 or true for prototypes that were not removed; None keeps all.

    Returns:
        f32 [B] >= 0 (per example), to be made large; 0 where no other class has a prototype.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> d = jnp.array([[5.0, 3.0, 1.0, 2.0]])
        >>> separation(d, jnp.array([0, 0, 1, 1]), jnp.array([0])).tolist()
        [1.0]

    Source: ProtoPNet (Chen et al. 2019), section 2.2, separation cost, weight -0.08 (the paper has the sign in the
    cost).
    Departures: a masked minimum, see `cluster`.
    """
    own, counts = _own("separation", distances, prototype_classes, labels, kept)
    return _masked_min(distances, ~own & counts)


def class_orthonormality(prototypes: jax.Array, per_class: int) -> jax.Array:
    """The prototypes of a class look for different things, `l = (1/C) sum_c |P_c P_c' - I|_F^2`.

    Args:
        prototypes: [C M,d], `P`, of length one; those of a class follow each other, `P_c` [M,d].
        per_class: M >= 1.

    Returns:
        f32 scalar >= 0 (per parameter); 0 where the prototypes of each class are orthonormal, M (M - 1) where they
        are all the same.

    Raises:
        ValueError: not two axes, a number of prototypes that `per_class` does not divide.

    Example:
        >>> float(class_orthonormality(jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), 2))
        1.0

    Source: TesNet (Wang et al. 2021), orthonormality of the basis concepts of a class.
    Departures: the mean over classes, not the sum.
    """
    check_shapes("class_orthonormality", prototypes=(prototypes, "P d"))
    count, width = prototypes.shape
    if per_class < 1 or count % per_class:
        raise ValueError(f"class_orthonormality: {count} prototypes, {per_class} a class; expected a multiple")
    basis = prototypes.astype(jnp.float32).reshape(-1, per_class, width)
    products = jnp.einsum("cmd,cnd->cmn", basis, basis)
    return jnp.mean(jnp.sum((products - jnp.eye(per_class)) ** 2, axis=(1, 2)))


def wrong_class_l1(kernel: jax.Array, prototype_classes: jax.Array, kept: jax.Array | None = None) -> jax.Array:
    """The weights of prototypes for classes not their own, `l = sum_p sum_{c != c_p} |w_pc|`.

    Args:
        kernel: [P,C], `w`.
        prototype_classes: int [P] in 0..C-1, `c_p`.
        kept: [P], 1 or true for prototypes that were not removed; None keeps all.

    Returns:
        f32 scalar >= 0 (per parameter).

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> float(wrong_class_l1(jnp.array([[9.0, -0.5], [0.25, 9.0]]), jnp.array([0, 1])))
        0.75

    Source: ProtoPNet (Chen et al. 2019), section 2.2, sparsity of the last layer, weight 1e-4.
    """
    classes = {"prototype_classes": (prototype_classes, "P"), "kept": (kept, "P")}
    sizes = check_shapes("wrong_class_l1", kernel=(kernel, "P C"), **classes)
    counts = jnp.asarray(prototype_classes)[:, None] != jnp.arange(sizes["C"])
    if kept is not None:
        counts &= jnp.asarray(kept)[:, None] > 0.5
    return jnp.sum(jnp.where(counts, jnp.abs(kernel.astype(jnp.float32)), 0.0))
