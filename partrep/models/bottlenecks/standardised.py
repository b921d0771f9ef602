"""Codes that differ from image to image by about one."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError


class Standardised(nn.Module):
    """Each entry of each part's vector less its mean over the batch, over its spread: `c = (u - mu) / sqrt(var + eps)`.

    `u_k = W_k v_k`, with a matrix [D,M] for each part, or `u = v` where no width is given. Pooled features are
    nearly the same for every image; a classifier on them learns slowly, one on what differs from image to image
    does not. Few entries a part leave a classifier of many classes no room to learn the classes by heart: the codes
    then say what the parts look like, which is what new classes are told by. A matrix for each part lets parts that
    look at the same places still say different things, so that the model starts no narrower than global pooling.

    Training uses the statistics of the batch, evaluation their running mean.

    Honest explanation, with a linear head: levels 1 and 2 exactly, since evaluation is affine in `v`; a part
    that is absent (zero vector) has the code `-mu / sqrt(var + eps)`.

    Attributes:
        width: M >= 1, entries of a part's code; none: D, with nothing learned.
        shared: whether all parts have one matrix, mean and spread: for parts that are the same thing at other places.
        epsilon: > 0, added to the variance: entries of parts that hardly exist stay small.

    Call:
        vectors: [B,K,D].
        train: whether this is a training step.

    Returns:
        f32 [B,K,M].

    Raises:
        UserError: a width or an epsilon that is not positive.

    Example:
        >>> vectors = jnp.array([[[1.0, 5.0]], [[3.0, 5.0]]])
        >>> codes, _ = Standardised().init_with_output(jax.random.key(0), vectors, train=True)
        >>> codes.round(3).tolist()
        [[[-1.0, 0.0]], [[1.0, 0.0]]]

    Source: Ioffe and Szegedy (2015), without the affine part; before a classifier, Luo et al. (2019), BNNeck.
    """

    width: int | None = None
    shared: bool = False
    epsilon: float = 1e-6
    affine = True

    @nn.compact
    def __call__(self, vectors: jax.Array, train: bool) -> jax.Array:
        """Codes of each part."""
        if self.epsilon <= 0 or (self.width is not None and self.width < 1):
            raise UserError(f"standardised: width {self.width}, epsilon {self.epsilon}; expected positive ones")
        vectors = vectors.astype(jnp.float32)
        if self.width is not None:
            shape = (1 if self.shared else vectors.shape[1], vectors.shape[2], self.width)
            kernel = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
            projection = self.param("projection", kernel, shape)
            vectors = vectors @ projection[0] if self.shared else jnp.einsum("bkd,kdm->bkm", vectors, projection)
        flat = vectors.reshape(-1, vectors.shape[2]) if self.shared else vectors.reshape(vectors.shape[0], -1)
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=self.epsilon,
            use_bias=False,
            use_scale=False,
            use_fast_variance=False,  # E[x^2] - E[x]^2 loses a spread that is small beside the mean
        )
        return norm(flat).reshape(vectors.shape)
