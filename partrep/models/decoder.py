"""A decoder that paints the image from its parts: what each code says, where the part looks."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.models.outputs import Reconstruction
from partrep.parts.readout import grid_positions, weighted_mean
from partrep.parts.structure import Parts

SMALLEST_TOTAL = 1e-6
FIRST_POSITION_SCALE = 2.0  # across the image places then weigh about as much as what the code says


def mixture(assignment: jax.Array, background: jax.Array | None) -> jax.Array:
    """Shares of K parts and a background, one at every location: [B,K,h,w], [B,h,w] or None -> f32 [B,K+1,h,w].

    Without a background it gets what the parts leave, `max(0, 1 - sum_k a_k)`; parts that together have more than
    all of a location (no competition) are scaled down.

    >>> mixture(jnp.array([[[[0.25]], [[0.5]]]]), None)[0, :, 0, 0].tolist()
    [0.25, 0.5, 0.25]
    >>> mixture(jnp.array([[[[1.0]], [[1.0]]]]), None)[0, :, 0, 0].tolist()
    [0.5, 0.5, 0.0]
    """
    a = assignment.astype(jnp.float32)
    rest = jax.nn.relu(1.0 - a.sum(1)) if background is None else background.astype(jnp.float32)
    shares = jnp.concatenate([a, rest[:, None]], axis=1)
    return shares / jnp.maximum(shares.sum(1, keepdims=True), SMALLEST_TOTAL)


def to_pixels(blocks: jax.Array, patch: tuple[int, int]) -> jax.Array:
    """Depth to space: [...,h,w,p*q*C] -> [...,h*p,w*q,C], a block of p x q pixels for each location.

    >>> to_pixels(jnp.arange(4.0).reshape(1, 1, 4), (2, 2))[..., 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    *lead, h, w, depth = blocks.shape
    p, q = patch
    split = blocks.reshape(*lead, h, w, p, q, depth // (p * q))
    return jnp.swapaxes(split, -4, -3).reshape(*lead, h * p, w * q, depth // (p * q))


def flat_blocks(key: jax.Array, shape: tuple[int, int], channels: int) -> jax.Array:
    """First weights [hidden,p*q*C] that paint one colour all over a block: else it starts, and long stays, speckled.

    >>> kernel = flat_blocks(jax.random.key(0), (5, 12), 3)
    >>> kernel.shape, bool((kernel[:, :3] == kernel[:, 9:]).all())
    ((5, 12), True)
    """
    colours = nn.initializers.lecun_normal()(key, (shape[0], channels))
    return jnp.tile(colours, (1, shape[1] // channels))


class PartDecoder(nn.Module):
    """Paints K parts and a background over one another, `image = sum_k a_k * f(c_k, n - centre_k)`.

    At each location n of the grid `f` is two hidden layers and a block of pixels, the same weights for all parts
    but the first matrix: `x_kn = relu(V relu(U_k c_k + P (n - centre_k) + b_k) + d)`, `block_kn = W x_kn + e`.
    What a code means is each part's own, as in the bottlenecks; how it turns into pixels is not.

    The shares are the part method's assignment itself: there are no masks of the decoder's own. So a part paints
    where it looks and nowhere else, one that is absent paints nothing, and what is shown of a reconstruction is what
    the explanations rest on. The gradient of the reconstruction reaches codes and assignment. All pixels of a location
    have its share.

    Soft assignments can paint without codes: reconstruction alone makes the parts a palette, whose colours every
    location mixes. Losses that make parts compact and locations decided (`concentration`, `assignment_entropy`) leave
    shape and place to the assignment and appearance to the codes.

    A part knows places from its own centroid only, so that a part that moves paints the same elsewhere, and its
    code need not say where it is. The background, which has no place, has positions from the image's centre. It
    says M numbers like the parts, a linear map of the mean feature under the background, without the bottleneck's
    noise; where the method has no background, its code is zero and its layer the same for every image.

    As `W` is shared and shares sum to one, `sum_k a_k W x_k = W sum_k a_k x_k`: training multiplies by `W` once
    for each location and not for each part; `layers` cost nothing under `jit` where nobody reads them. Time and
    memory grow with B*K*h*w*hidden: it is meant for tens of parts, not thousands. Forward and backward of 64 images
    of 64x64 with 8 parts on a 16x16 grid: about 50 ms (CPU time over two cores).

    Attributes:
        hidden: >= 1, units of each hidden layer.

    Call:
        codes: [B,K,M].
        parts: assignment, background and centroid are read.
        features: [B,h,w,D], for the background.
        image_shape: (H, W, C) of the image to paint; H and W multiples of h and w.

    Returns:
        `Reconstruction`. Pixel values are not squashed into [0,1].

    Raises:
        UserError: no hidden unit, an image that is not a multiple of the grid.

    Example:
        >>> from partrep.parts import Gap
        >>> features = jnp.ones((2, 4, 4, 8))
        >>> parts = Gap().apply({}, features, train=False)
        >>> start = jax.jit(PartDecoder(hidden=8).init_with_output, static_argnums=4)
        >>> painted, _ = start(jax.random.key(1), parts.vectors, parts, features, (16, 16, 3))
        >>> painted.image.shape, painted.shares.shape, painted.layers.shape
        ((2, 16, 16, 3), (2, 2, 16, 16), (2, 2, 16, 16, 3))

    Source: spatial broadcast decoder (Watters et al. 2019); the mixture of layers, Slot attention (Locatello et al.
    2020), section 3.1 and appendix E.3.
    Departures: assignments in place of decoded masks; positions from the part's centroid; one location paints a block
    of pixels by a matrix product in place of upsampling convolutions, which are slow on CPUs.
    """

    hidden: int = 32

    @nn.compact
    def __call__(
        self, codes: jax.Array, parts: Parts, features: jax.Array, image_shape: tuple[int, int, int]
    ) -> Reconstruction:
        """Paints each image from its codes."""
        if self.hidden < 1:
            raise UserError(f"decoder: {self.hidden} hidden units; expected at least 1")
        h, w = parts.assignment.shape[2:]
        patch = _patch(image_shape, (h, w))
        shares = mixture(parts.assignment, parts.background)
        said = jnp.concatenate([codes.astype(jnp.float32), self._background(parts, features, codes.shape[-1])], 1)
        units = self._units(said, parts.centroid, (h, w))
        paint = nn.Dense(
            patch[0] * patch[1] * image_shape[2],
            kernel_init=lambda key, shape, dtype: flat_blocks(key, shape, image_shape[2]),
            bias_init=nn.initializers.constant(0.5),
            name="paint",
        )
        image = paint((shares[..., None] * units).sum(1))
        pixels = jnp.repeat(jnp.repeat(shares, patch[0], axis=2), patch[1], axis=3)
        return Reconstruction(to_pixels(image, patch), pixels, to_pixels(paint(units), patch))

    def _background(self, parts: Parts, features: jax.Array, width: int) -> jax.Array:
        """What the background says, f32 [B,1,M]."""
        if parts.background is None:
            return jnp.zeros((features.shape[0], 1, width))
        return nn.Dense(width, name="background")(weighted_mean(features, parts.background[:, None]))

    def _units(self, said: jax.Array, centroid: jax.Array, grid: tuple[int, int]) -> jax.Array:
        """The last hidden layer of each part at each location: [B,K+1,M], [B,K,2] -> [B,K+1,h,w,hidden]."""
        k, m = said.shape[1:]
        kernel = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
        first = self.param("code_kernel", kernel, (k, m, self.hidden))
        bias = self.param("code_bias", nn.initializers.zeros, (k, self.hidden))
        place = self.param("place_kernel", nn.initializers.normal(FIRST_POSITION_SCALE), (2, self.hidden))
        centre = jnp.concatenate([centroid, jnp.full_like(centroid[:, :1], 0.5)], axis=1)
        # Positions enter linearly, so the differences from the centres are never laid out on the grid.
        start = jnp.einsum("bkm,kmf->bkf", said, first) + bias - centre @ place
        inner = nn.relu(start[:, :, None, None] + grid_positions(*grid) @ place)
        return nn.relu(nn.Dense(self.hidden, name="hidden")(inner))


def _patch(image_shape: tuple[int, int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """The pixels of a location, (H/h, W/w)."""
    (height, width, _), (h, w) = image_shape, grid
    if height % h or width % w:
        raise UserError(f"decoder: image of {height}x{width}, map of {h}x{w}; expected multiples of the map's sides")
    return height // h, width // w


DECODERS = {"parts": PartDecoder}
