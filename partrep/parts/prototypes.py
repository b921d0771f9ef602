"""Prototypes: every class has patches of its own, and an image is scored by how near it comes to each (ProtoPNet)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError, lookup
from partrep.directions import unit
from partrep.parts import readout
from partrep.parts.queries import class_tied, unit_rows
from partrep.parts.similarity import cosine, negative_squared_distance
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


def cosine_distance(similarity: jax.Array) -> jax.Array:
    """One less the cosine of each prototype with its most similar location, `d_p = 1 - max_n s_pn`.

    Args:
        similarity: [B,P,h,w] in [-1,1], `s`, as `Prototypes` with similarity "cosine" gives it.

    Returns:
        f32 [B,P] in [0,2]: half the squared distance of the two vectors at length one.

    Raises:
        ValueError: not four axes.

    Example:
        >>> cosine_distance(jnp.array([[[[0.25, -1.0]]]])).tolist()
        [[0.75]]

    Source: TesNet (Wang et al. 2021), cluster and separation cost of the negative cosine, which differs by the 1.
    """
    return 1.0 - readout.max_score(similarity)


def _unit_sigmoid(x: jax.Array) -> jax.Array:
    """Positive entries at length one: no patch is without a direction."""
    return unit(nn.sigmoid(x))


def _log_ratio_of_distance(features: jax.Array, prototypes: jax.Array) -> jax.Array:
    """`log_ratio` of all distances; between `u - 1/2` and `p - 1/2`, which cancel less."""
    return log_ratio(-negative_squared_distance(features - 0.5, prototypes - 0.5))


class Similarity(NamedTuple):
    """How patches and prototypes are compared.

    Attributes:
        activation: of the add-on, which brings patches to where prototypes are.
        start: initialiser of prototypes [P,d].
        function: patches [B,h,w,d] and prototypes [P,d] -> similarity [B,P,h,w].
        largest: similarity of a patch with itself.
        distance: similarity -> distances [B,P] that cluster and separation cost read.
    """

    activation: Callable[[jax.Array], jax.Array]
    start: Callable[..., jax.Array]
    function: Callable[[jax.Array, jax.Array], jax.Array]
    largest: float
    distance: Callable[[jax.Array], jax.Array]


SIMILARITIES = {
    "cosine": Similarity(_unit_sigmoid, unit_rows, cosine, 1.0, cosine_distance),
    "distance": Similarity(
        nn.sigmoid, nn.initializers.uniform(1.0), _log_ratio_of_distance, -math.log(EPSILON), nearest_distance
    ),
}


def _at_peak(similarity: jax.Array) -> jax.Array:
    """One at the best location of each map, the first of equals, zero elsewhere: [B,P,h,w] -> f32 [B,P,h,w]."""
    flat = similarity.reshape(*similarity.shape[:2], -1)
    return jax.nn.one_hot(jnp.argmax(flat, axis=-1), flat.shape[-1]).reshape(similarity.shape)


class Prototypes(nn.Module):
    """P = C M prototypes, M a class: `s_p = max_n log((d_pn + 1) / (d_pn + e))`, `d_pn = |u_n - p_p|^2`.

    `u_n = sigmoid(W' relu(W z_n))` in [0,1]^d is the add-on; `e` = 1e-4. With similarity "cosine",
    `s_p = max_n <u_n, p_p> / |p_p|` with `u_n` brought to length one. The class of prototype p is
    `class_tied(classes, per_class)[p]`, and the head is `class_tied`.

    Honest explanation, with a linear head: level 1 exactly; level 2 in this sense: all evidence of a prototype
    lies at one location, where its assignment is 1, and with that location frozen its score is a function of
    that location's feature alone (`sum_n a_pn g_pn`), though not a linear one. Not level 3: a feature sees
    pixels of the whole image.

    A removed prototype (`prune/kept` [P], 1 or 0) has score, presence and assignment 0; its row in
    `similarity` stays. `provenance` says since the last push from which training image (`image` i32 [P]) and
    cell (`place` i32 [P,2], y and x) each prototype was taken and how far (`distance` f32 [P], squared) it was
    before; -1 is none. Of vectors at length one the nearest is the one of greatest cosine, so that one push serves
    both similarities. Whoever writes one of these, or pushes the prototypes, writes the averaged variables too.

    Attributes:
        classes: C >= 1.
        per_class: M >= 1.
        width: d >= 1, of the add-on.
        similarity: "distance" or "cosine".

    Call:
        features: [B,h,w,D].
        train: unused (no noise).

    Returns:
        `Parts` with scores and neither vectors nor background; the assignment is one-hot over locations.
        Presence is the score over its largest value, log(1/e) or 1; none under 0.

    Raises:
        UserError: an attribute under 1, an unknown similarity.
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(Prototypes(classes=3, per_class=2).init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(1), features, train=False)
        >>> parts.scores.shape, sorted(variables)
        ((2, 6), ['params', 'provenance', 'prune'])

    Source: ProtoPNet (Chen et al. 2019), section 2.1; cosine, TesNet (Wang et al. 2021), whose prototypes are brought
    back to length one after each step (`renormalise` of a stage of the task).
    Departures: distances are between `u - 1/2` and `p - 1/2`, the same numbers with less cancellation; removing
    is a mask, not a change of shape. TesNet scores by `<u_n, p_p> / |p_p|` of features that keep their length and
    reads the cosine in its losses alone; here the cosine is the score too, so that no patch scores higher than the one
    a prototype was pushed to. Orthonormal prototypes of a class are a loss, `class_orthonormality`; its term for far
    apart subspaces is not here.
    """

    classes: int
    per_class: int = 10
    width: int = 128
    similarity: str = "distance"

    @property
    def compared(self) -> Similarity:
        """How patches and prototypes are compared."""
        return lookup(SIMILARITIES, self.similarity, "similarity of prototypes")

    def setup(self) -> None:
        """Declares the add-on, the prototypes, which of them are kept and where they come from."""
        count = class_tied(self.classes, self.per_class).size
        if self.width < 1:
            raise UserError(f"prototypes: width {self.width}; expected at least 1")
        self.hidden = nn.Dense(self.width, dtype=jnp.float32)
        self.output = nn.Dense(self.width, dtype=jnp.float32)
        self.prototypes = self.param("prototypes", self.compared.start, (count, self.width))
        self.kept = self.variable("prune", "kept", jnp.ones, (count,), jnp.float32)
        self.image = self.variable("provenance", "image", jnp.full, (count,), -1, jnp.int32)
        self.place = self.variable("provenance", "place", jnp.full, (count, 2), -1, jnp.int32)
        self.distance = self.variable("provenance", "distance", jnp.full, (count,), -1.0, jnp.float32)

    def project(self, features: jax.Array) -> jax.Array:
        """The add-on, [B,h,w,D] -> f32 [B,h,w,d] in [0,1]: what prototypes are compared with and pushed to."""
        check_shapes("Prototypes", features=(features, "B h w D"))
        return self.compared.activation(self.output(nn.relu(self.hidden(features))))

    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Scores every prototype in each image."""
        similarity = self.compared.function(self.project(features), self.prototypes)
        kept = self.kept.value > 0.5  # an average of ones may round
        assignment = jnp.where(kept[:, None, None], _at_peak(similarity), 0.0)
        scores = jnp.where(kept, readout.max_score(similarity), 0.0)
        return Parts(
            similarity=similarity,
            assignment=assignment,
            background=None,
            vectors=None,
            scores=scores,
            presence=jnp.clip(scores / self.compared.largest, 0.0, 1.0),
            centroid=readout.centroid(assignment),
        )
