"""Prototypes: every class has patches of its own, and an image is scored by how near it comes to each (ProtoPNet)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts import readout
from partrep.parts.queries import class_tied
from partrep.parts.similarity import negative_squared_distance
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes

EPSILON = 1e-4


def log_ratio(squared_distance: jax.Array) -> jax.Array:
    """The score of a squared distance, `g = log((d + 1) / (d + e))` with `e` = 1e-4.

    Args:
        squared_distance: [...] >= 0, `d`.

    Returns:
        f32 [...] in [0, log(1/e)]: 9.21 at `d = 0`, about `1/d` far away.

    Example:
        >>> [round(float(g), 4) for g in log_ratio(jnp.array([0.0, 1.0]))]
        [9.2103, 0.693]

    Source: ProtoPNet (Chen et al. 2019), section 2.1.
    Departures: computed as `log1p((1 - e) / (d + e))`, the same number, which does not round to 0 far away.
    """
    return jnp.log1p((1.0 - EPSILON) / (squared_distance.astype(jnp.float32) + EPSILON))


def nearest_distance(similarity: jax.Array) -> jax.Array:
    """The squared distance of each prototype to its nearest location, `d_p = min_n |z_n - p_p|^2`.

    Undoes `log_ratio` at the best location, `d = (1 - e) / (exp(max_n g_n) - 1) - e`: values and gradients are
    those of the distances themselves to about 1e-6, so that the losses need nothing but `Parts`.

    Args:
        similarity: [B,P,h,w] > 0, `g`, as `Prototypes` gives it.

    Returns:
        f32 [B,P] >= 0.

    Raises:
        ValueError: not four axes.

    Example:
        >>> nearest_distance(log_ratio(jnp.array([[[[3.0, 0.5]]]]))).round(4).tolist()
        [[0.5]]

    Source: ProtoPNet (Chen et al. 2019), section 2.2, the distances of cluster and separation cost.
    """
    return jnp.maximum((1.0 - EPSILON) / jnp.expm1(readout.max_score(similarity)) - EPSILON, 0.0)


def _at_peak(similarity: jax.Array) -> jax.Array:
    """One at the best location of each map, the first of equals, zero elsewhere: [B,P,h,w] -> f32 [B,P,h,w]."""
    flat = similarity.reshape(*similarity.shape[:2], -1)
    return jax.nn.one_hot(jnp.argmax(flat, axis=-1), flat.shape[-1]).reshape(similarity.shape)


class Prototypes(nn.Module):
    """P = C M prototypes, M a class: `s_p = max_n log((d_pn + 1) / (d_pn + e))`, `d_pn = |u_n - p_p|^2`.

    `u_n = sigmoid(W' relu(W z_n))` in [0,1]^d is the add-on; `e` = 1e-4. The class of prototype p is
    `class_tied(classes, per_class)[p]`, and the head is `class_tied`.

    Honest explanation, with a linear head: level 1 exactly; level 2 in this sense: all evidence of a prototype
    lies at one location, where its assignment is 1, and with that location frozen its score is a function of
    that location's feature alone (`sum_n a_pn g_pn`), though not a linear one. Not level 3: a feature sees
    pixels of the whole image.

    A removed prototype (`prune/kept` [P], 1 or 0) has score, presence and assignment 0; its row in
    `similarity` stays. `provenance` says since the last push from which training image (`image` i32 [P]) and
    cell (`place` i32 [P,2], y and x) each prototype was taken and how far (`distance` f32 [P]) it was before;
    -1 is none. Whoever writes one of these, or pushes the prototypes, writes the averaged variables too.

    Attributes:
        classes: C >= 1.
        per_class: M >= 1.
        width: d >= 1, of the add-on.

    Call:
        features: [B,h,w,D].
        train: unused (no noise).

    Returns:
        `Parts` with scores and neither vectors nor background; the assignment is one-hot over locations.
        Presence is the score over its largest value, log(1/e).

    Raises:
        UserError: an attribute under 1.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(Prototypes(classes=3, per_class=2).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(1), features, train=False)
        >>> parts.scores.shape, sorted(variables)
        ((2, 6), ['params', 'provenance', 'prune'])

    Source: ProtoPNet (Chen et al. 2019), section 2.1.
    Departures: distances are between `u - 1/2` and `p - 1/2`, the same numbers with less cancellation; removing
    is a mask, not a change of shape.
    """

    classes: int
    per_class: int = 10
    width: int = 128

    def setup(self) -> None:
        """Declares the add-on, the prototypes, which of them are kept and where they come from."""
        count = class_tied(self.classes, self.per_class).size
        if self.width < 1:
            raise UserError(f"prototypes: width {self.width}; expected at least 1")
        self.hidden = nn.Dense(self.width, dtype=jnp.float32)
        self.output = nn.Dense(self.width, dtype=jnp.float32)
        self.prototypes = self.param("prototypes", nn.initializers.uniform(1.0), (count, self.width))
        self.kept = self.variable("prune", "kept", jnp.ones, (count,), jnp.float32)
        self.image = self.variable("provenance", "image", jnp.full, (count,), -1, jnp.int32)
        self.place = self.variable("provenance", "place", jnp.full, (count, 2), -1, jnp.int32)
        self.distance = self.variable("provenance", "distance", jnp.full, (count,), -1.0, jnp.float32)

    def project(self, features: jax.Array) -> jax.Array:
        """The add-on, [B,h,w,D] -> f32 [B,h,w,d] in [0,1]: what prototypes are compared with and pushed to."""
        check_shapes("Prototypes", features=(features, "B h w D"))
        return nn.sigmoid(self.output(nn.relu(self.hidden(features))))

    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Scores every prototype in each image."""
        distance = -negative_squared_distance(self.project(features) - 0.5, self.prototypes - 0.5)
        similarity = log_ratio(distance)
        kept = self.kept.value > 0.5  # an average of ones may round
        assignment = jnp.where(kept[:, None, None], _at_peak(similarity), 0.0)
        scores = jnp.where(kept, readout.max_score(similarity), 0.0)
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=None,
            vectors=None,
            scores=scores,
            presence=jnp.clip(scores / -jnp.log(EPSILON), 0.0, 1.0),
            centroid=readout.centroid(assignment),
        )
