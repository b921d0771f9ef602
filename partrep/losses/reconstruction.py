"""How far an image painted from its parts is from the image."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes


def reconstruction(image: jax.Array, reconstructed: jax.Array) -> jax.Array:
    """The mean squared error, `l_b = (1/d) |x_b - y_b|^2`, `d = H W C`.

    With pixels drawn from `N(y, s^2)` the negative log-likelihood is `d l / (2 s^2) + (d/2) log(2 pi s^2)` nats. So a
    variational autoencoder with this s minimises `l` and `gaussian_kl` of weight `2 s^2 / d`, times beta: for 64x64
    images in colour and s = 0.1, `1.6e-6 beta`.

    Args:
        image: [B,H,W,C] in [0,1], `x`.
        reconstructed: [B,H,W,C], `y`.

    Returns:
        f32 [B] >= 0 (per example).

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> reconstruction(jnp.ones((1, 2, 2, 3)), jnp.full((1, 2, 2, 3), 0.5)).tolist()
        [0.25]

    Source: Gaussian likelihood of fixed variance; Slot attention (Locatello et al. 2020), section 4.1.
    """
    axes = "B H W C"
    check_shapes("reconstruction", image=(image, axes), reconstructed=(reconstructed, axes))
    return jnp.mean((image.astype(jnp.float32) - reconstructed.astype(jnp.float32)) ** 2, axis=(1, 2, 3))
