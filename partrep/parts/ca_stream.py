"""CA-Stream: a class token that attends to the features of every stage pools them, in place of average pooling."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.parts import readout
from partrep.parts.similarity import dot
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes


def _token(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return 1.0 + jax.random.normal(key, shape)


def _over_locations(scores: jax.Array) -> jax.Array:
    """Softmax over the locations of scores [B,h,w]."""
    return jax.nn.softmax(scores, axis=(1, 2))


class CaStream(nn.Module):
    """A stream of cross attention: `a_l = softmax_n(q_l . F_ln / sqrt(D_l))`, `q_{l+1} = W_l sum_n a_ln F_ln`.

    There are no projections of features or token and no residual: the attention is a class-agnostic saliency
    map, and what the last stage pools is a masked mean of its features, as a class activation map has it.

    Call:
        stages: one or more features [B,h_l,w_l,D_l], shallow to deep.

    Returns:
        The pooled features of the last stage, `sum_n a_Ln F_Ln`, f32 [B,D_L], and of each stage the scores before
        the softmax, f32 [B,h_l,w_l].

    Raises:
        ValueError: no stages, features without four axes or of different batches.

    Example:
        >>> stages = [jnp.ones((2, 4, 4, 8)), jnp.ones((2, 2, 2, 16))]
        >>> (pooled, scores), _ = jax.eval_shape(CaStream().init_with_output, jax.random.key(0), stages)
        >>> pooled.shape, [s.shape for s in scores]
        ((2, 16), [(2, 4, 4), (2, 2, 2)])

    Source: Torres, Zhang, Sicre, Ayache and Avrithis, CA-Stream (CVPR workshops 2024); the released code for
    `q_0` from N(1,1), Xavier weights with a bias, and scores before the softmax as maps.
    Departures: `q_0` has the width of the first stage, whatever it is (64 after the stem of a ResNet, as
    released). The square `W_L` of the released code, after the last stage, is left out: a linear classifier that is
    trained behind it says the same without (a frozen one wants a `Dense` of that width before it). Freezing the
    network around it is the training's choice.
    """

    @nn.compact
    def __call__(self, stages: Sequence[jax.Array]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Features of all stages -> the pooled features of the last and the scores."""
        if not stages:
            raise ValueError("CaStream: found no stages; expected features of at least one")
        for stage in stages:
            check_shapes("CaStream", first=(stages[0], "B h w D"), stage=(stage, "B y x E"))
        token = self.param("token", _token, (stages[0].shape[-1],))
        query, scores = jnp.broadcast_to(token, (stages[0].shape[0], token.size)), []
        for number, stage in enumerate(stages):
            if number:
                weights = nn.initializers.xavier_uniform()
                query = nn.Dense(stage.shape[-1], kernel_init=weights, name=f"project_{number}")(query)
            scores.append(dot(stage, query[:, None])[:, 0] / jnp.sqrt(stage.shape[-1]))
            query = readout.weighted_mean(stage, _over_locations(scores[-1])[:, None])[:, 0]
        return query, tuple(scores)


class CaStreamPooling(nn.Module):
    """One part that is where the class token looks: `v = sum_n a_n z_n`, `a = softmax_n(q . z_n / sqrt(D))`.

    `CaStream` of one stage, the backbone's last map: the token is then a learned query, the same for every image
    and class.

    Honest explanation, with a linear head: level 1 trivially (one part), level 2 exactly, with the attention
    frozen (the read-out is a weighted mean of the features). Not level 3. `read_out(features, assignment)` is the
    read-out with the attention frozen. The one part's contribution, spread as the attention lies, is the saliency
    map of the source, in units of the logit.

    Call:
        features: [B,h,w,D].
        train: unused.

    Returns:
        `Parts` with K=1: the assignment is the attention and sums to 1 over locations, similarity is the score
        before the softmax, presence is 1; no background, no scores.

    Raises:
        ValueError: features without four axes.

    Example:
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> start = jax.jit(CaStreamPooling().init_with_output, static_argnames="train")
        >>> parts, variables = start(jax.random.key(0), features, train=False)
        >>> parts.vectors.shape, parts.assignment.shape, float(parts.assignment[0, 0, 0, 0])
        ((2, 1, 8), (2, 1, 4, 4), 0.0625)

    Source: Torres et al., CA-Stream (CVPR workshops 2024), see `CaStream`.
    Departures: one stage, since a backbone of this library hands on its last map alone; the network is trained
    with it and not frozen.
    """

    read_out = staticmethod(readout.weighted_mean)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """Where the token looks, as one part."""
        pooled, scores = CaStream(name="stream")([features])
        assignment = _over_locations(scores[-1])[:, None]
        return Parts(
            similarity=scores[-1][:, None],
            assignment=assignment,
            background=None,
            vectors=pooled[:, None],
            scores=None,
            presence=jnp.ones(assignment.shape[:2]),
            centroid=readout.centroid(assignment),
        )
