"""Codes of numbers that vary independently: each part says a Gaussian, whose mean is its code."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.models.outputs import Posterior

LARGEST_LOG_VARIANCE = 10.0
FIRST_LOG_VARIANCE = -4.0


class Disentangled(nn.Module):
    """Each part says M numbers through noise, `c_k = mu_k + sigma_k e`, `e ~ N(0, I)`; in evaluation `c_k = mu_k`.

    `mu_k = W_k v_k + b_k` and `log sigma_k^2 = 10 tanh((U_k v_k + d_k) / 10)`. The noise is what the losses of
    `partrep.losses.disentanglement` trade against: a number that is not needed is drowned in it, and numbers that
    say the same thing are dearer than numbers that vary independently. Together with a decoder (`PartModel`) the
    codes are the latents of a variational autoencoder, one for each part.

    The matrices are each part's own: the independent factors of a wing are not those of a head, and a prior of
    unit variance for every number asks for a scale of its own in every part. They cost 2KDM weights.

    Honest explanation, with a linear head: level 1 exactly, and level 2 exactly where the vectors are linear in the
    features, since evaluation is affine in `v`: no normalisation. A part that is absent (zero vector) says `b_k`,
    which no location is credited with. Level 3 as the part method.

    Mean and log-variance are sown as `intermediates/posterior_mean` and `intermediates/posterior_log_variance` for
    inspection; losses read `PartOutputs.posterior`, which comes from the method `posterior(vectors)`.

    Attributes:
        width: M >= 1, numbers of a part's code.

    Call:
        vectors: [B,K,D].
        train: whether this is a training step, which draws from stream "gumbel" (the tasks' stream of all noise
            in codes); evaluation is always the mean.

    Returns:
        f32 [B,K,M].

    Raises:
        UserError: a width under 1.
        ValueError: vectors without three axes.

    Example:
        >>> vectors = jnp.ones((1, 2, 3))
        >>> start = jax.jit(Disentangled(width=4).init_with_output, static_argnames="train")
        >>> codes, variables = start(jax.random.key(0), vectors, train=False)
        >>> posterior = Disentangled(width=4).apply(variables, vectors, method="posterior")
        >>> codes.shape, bool(jnp.allclose(codes, posterior.mean))
        ((1, 2, 4), True)

    Source: Kingma and Welling (2014), variational autoencoders, equation 10; Higgins et al. (2017), beta-VAE.
    Departures: one Gaussian a part, by an affine map of the part's vector in place of an encoder of the image. The
    log-variance is bounded by a tanh, which unlike a clip never loses its gradient, and starts at -4 for any
    vector (`U = 0`), so that the codes are heard through the noise from the first step.
    """

    width: int = 16
    affine = True

    @nn.compact
    def posterior(self, vectors: jax.Array) -> Posterior:
        """The Gaussian of each part's code."""
        if self.width < 1:
            raise UserError(f"disentangled: width {self.width}; expected at least 1")
        if jnp.ndim(vectors) != 3:
            raise ValueError(f"disentangled: vectors has shape {jnp.shape(vectors)}; expected [B,K,D]")
        parts, depth = vectors.shape[1:]
        kernel = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
        first = nn.initializers.constant(FIRST_LOG_VARIANCE)
        mean = self._affine("mean", vectors, kernel, nn.initializers.zeros, (parts, depth, self.width))
        raw = self._affine("log_variance", vectors, nn.initializers.zeros, first, (parts, depth, self.width))
        return Posterior(mean, LARGEST_LOG_VARIANCE * jnp.tanh(raw / LARGEST_LOG_VARIANCE))

    def _affine(self, name: str, vectors: jax.Array, kernel, bias, shape: tuple[int, int, int]) -> jax.Array:
        """An affine map of its own for each part: [B,K,D] -> f32 [B,K,M]."""
        weights = self.param(f"{name}_kernel", kernel, shape)
        offset = self.param(f"{name}_bias", bias, (shape[0], shape[2]))
        return jnp.einsum("bkd,kdm->bkm", vectors.astype(jnp.float32), weights) + offset

    def __call__(self, vectors: jax.Array, train: bool) -> jax.Array:
        """Codes of each part."""
        posterior = self.posterior(vectors)
        self.sow("intermediates", "posterior_mean", posterior.mean)
        self.sow("intermediates", "posterior_log_variance", posterior.log_variance)
        if not train:
            return posterior.mean
        noise = jax.random.normal(self.make_rng("gumbel"), posterior.mean.shape)
        return posterior.mean + jnp.exp(posterior.log_variance / 2) * noise
