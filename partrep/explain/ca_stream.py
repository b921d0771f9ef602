"""CA-Stream: a class token that reads the features of every stage, in place of average pooling."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes


def _token(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return 1.0 + jax.random.normal(key, shape)


class CaStream(nn.Module):
    """Pools by a stream of cross attention: `a_l = softmax_n(q_l . F_ln / sqrt(D_l))`, `q_{l+1} = W_l sum_n a_ln F_ln`.

    There are no projections of features or token and no residual: the attention is a class-agnostic saliency
    map, and in the last stage the pooled vector is a masked mean of the features, as a class activation map
    has it. A linear classifier reads the last token.

    Call:
        stages: one or more features [B,h_l,w_l,D_l], shallow to deep.

    Returns:
        The last token f32 [B,D_L], and of each stage the scores before the softmax, f32 [B,h_l,w_l].

    Raises:
        ValueError: no stages, features without four axes or of different batches.

    Example:
        >>> stages = [jnp.ones((2, 4, 4, 8)), jnp.ones((2, 2, 2, 16))]
        >>> (pooled, scores), _ = jax.eval_shape(CaStream().init_with_output, jax.random.key(0), stages)
        >>> pooled.shape, [s.shape for s in scores]
        ((2, 16), [(2, 4, 4), (2, 2, 2)])

    Source: Torres, Zhang, Sicre, Ayache and Avrithis, CA-Stream (CVPR workshops 2024); the released code for
    `q_0` from N(1,1), Xavier weights with a bias, `W_L` square, and scores before the softmax as maps.
    Departures: `q_0` has the width of the first stage, whatever it is (64 after the stem of a ResNet, as
    released). Freezing the network around it is the training's choice.
    """

    @nn.compact
    def __call__(self, stages: Sequence[jax.Array]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        """Features of all stages -> the pooled vector and the scores."""
        if not stages:
            raise ValueError("CaStream: found no stages; expected features of at least one")
        for stage in stages[1:]:
            check_shapes("CaStream", first=(stages[0], "B h w D"), stage=(stage, "B y x E"))
        widths = [stage.shape[-1] for stage in stages]
        token = self.param("token", _token, (widths[0],))
        query, scores = jnp.broadcast_to(token, (stages[0].shape[0], widths[0])), []
        for number, (stage, width) in enumerate(zip(stages, widths[1:] + widths[-1:])):
            z = stage.astype(jnp.float32).reshape(stage.shape[0], -1, stage.shape[-1])
            score = jnp.einsum("bd,bnd->bn", query, z, precision="highest") / jnp.sqrt(z.shape[-1])
            pooled = jnp.einsum("bn,bnd->bd", jax.nn.softmax(score), z, precision="highest")
            weights = nn.initializers.xavier_uniform()
            query = nn.Dense(width, kernel_init=weights, name=f"project_{number}")(pooled)
            scores.append(score.reshape(stage.shape[:-1]))
        return query, tuple(scores)
