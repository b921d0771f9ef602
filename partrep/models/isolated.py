"""The isolated read-out: every part is encoded again from its own pixels, and from nothing else."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.directions import unit
from partrep.models.backbones.layers import batch_norm, he_normal, patches
from partrep.parts import readout
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes

SHARPEST = 20.0  # a sum of weights is then at least exp(-40), and its square a normal float32: finite gradients


def harden(assignment: jax.Array, background: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
    """Gives each location wholly to its largest share; the gradient is that of the shares (straight through).

    `m_n = onehot(argmax_k a_kn) + (a_n - sg(a_n))`, over the parts and, where there is one, the background.

    Args:
        assignment: [B,K,h,w] >= 0, `a`.
        background: [B,h,w] >= 0, the share of no part; None where every location goes to some part.

    Returns:
        masks f32 [B,K,h,w], each entry exactly 0 or 1, and the background f32 [B,h,w] or None. Of equal shares
        the first part wins, the background last.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> masks, rest = harden(jnp.array([[[[0.5, 0.2, 0.3]], [[0.4, 0.1, 0.3]]]]), jnp.array([[[0.1, 0.7, 0.4]]]))
        >>> masks[0, :, 0].tolist(), rest.tolist()
        ([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [[[0.0, 1.0, 1.0]]])

    Source: Bengio et al. (2013), straight-through estimator; binary masks between two stages, iFAM (Aniraj et
    al. 2025).
    """
    shapes = {"assignment": (assignment, "B K h w"), "background": (background, "B h w")}
    parts = check_shapes("harden", **shapes)["K"]
    shares = assignment if background is None else jnp.concatenate([assignment, background[:, None]], 1)
    shares = shares.astype(jnp.float32)
    hard = jax.nn.one_hot(jnp.argmax(shares, 1), shares.shape[1], axis=1)
    # The bracket is exactly zero; (hard + shares) - shares would be rounded.
    hard = hard + (shares - jax.lax.stop_gradient(shares))
    return hard[:, :parts], None if background is None else hard[:, parts]


def regions(masks: jax.Array) -> Parts:
    """Given masks [B,K,h,w] as the proposal of a part method; what they leave over is the background.

    >>> regions(jnp.array([[[[1.0, 0.0]]]])).background.tolist()
    [[[0.0, 1.0]]]
    """
    masks = masks.astype(jnp.float32)
    rest = jnp.maximum(1 - masks.sum(1), 0.0)
    where = {"presence": readout.presence(masks), "centroid": readout.centroid(masks)}
    return Parts(similarity=masks, assignment=masks, background=rest, vectors=None, scores=None, **where)


def attend(query: jax.Array, key: jax.Array, value: jax.Array, labels: jax.Array, sharpness: jax.Array) -> jax.Array:
    """Cosine attention of each token to the tokens of its own part, `o_n = sum_m w_nm v_m / sum_m w_nm`.

    `w_nm = exp(s cos(q_n, k_m) - s)` where `n` and `m` have one label, and exactly 0 elsewhere: what other parts
    hold is multiplied by zero, and adding zeros rounds nothing. As cosines are at most one there is no maximum to
    look for, and as the sum of the weights comes out of the same matrix product as `o`, the [N,N] weights are
    written once and never divided: with 4 heads 108 ms in place of 144 for a masked softmax (64 x 256 tokens, D=64,
    two CPU cores, forward and backward). Most of it goes into the weights, not the products: 2 heads take 69 ms.

    Args:
        query: [B,N,A,d], A heads.
        key: [B,N,A,d].
        value: [B,N,A,d], finite.
        labels: i32 [B,N], the part of each token.
        sharpness: [A], `s`, in [0, 20].

    Returns:
        f32 [B,N,A,d].

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> token = jnp.arange(3.0).reshape(1, 3, 1, 1)
        >>> attend(token, token, token, jnp.array([[0, 1, 1]]), jnp.zeros(1)).ravel().tolist()
        [0.0, 1.5, 1.5]

    Source: Swin Transformer V2 (Liu et al. 2022), scaled cosine attention, equation 2.
    Departures: no position bias; a sharpness bounded by 20 and not 100, which float32 needs here, see `SHARPEST`.
    """
    arrays = {"query": query, "key": key, "value": value}
    check_shapes("attend", **{k: (x, "B N A d") for k, x in arrays.items()}, labels=(labels, "B N"))
    cosine = jnp.einsum("bnad,bmad->banm", unit(query) * sharpness[:, None], unit(key))
    together = labels[:, None, :, None] == labels[:, None, None, :]
    weights = jnp.exp(jnp.where(together, cosine - sharpness[:, None, None], -jnp.inf))
    value = jnp.concatenate([value.astype(jnp.float32), jnp.ones_like(value[..., :1], jnp.float32)], -1)
    sums = jnp.einsum("banm,bmad->bnad", weights, value)
    return sums[..., :-1] / sums[..., -1:]


def own_neighbours(x: jax.Array, labels: jax.Array) -> jax.Array:
    """What each location sees of its 3x3 neighbourhood inside its own part, side by side; zero elsewhere.

    A matrix product of it is a 3x3 convolution in which other parts, like the outside of the image, are zero.

    Args:
        x: [B,h,w,D].
        labels: i32 [B,h,w] >= 0, the part of each location.

    Returns:
        [B,h,w,9D], row by row of the neighbourhood.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
        >>> own_neighbours(x, jnp.array([[[0, 0, 1]]]))[0, 0, :, 3:6].tolist()
        [[0.0, 1.0, 2.0], [1.0, 2.0, 0.0], [0.0, 3.0, 0.0]]

    Source: partial convolution (Liu et al. 2018), equation 1, with a mask for each part and without its rescaling.
    """
    check_shapes("own_neighbours", x=(x, "B h w D"), labels=(labels, "B h w"))
    h, w = x.shape[1:3]
    border = ((0, 0), (1, 1), (1, 1))
    wide, wide_labels = jnp.pad(x, (*border, (0, 0))), jnp.pad(labels, border, constant_values=-1)

    def seen(dy: int, dx: int) -> jax.Array:
        place = (slice(None), slice(dy, dy + h), slice(dx, dx + w))
        return jnp.where((wide_labels[place] == labels)[..., None], wide[place], 0)

    return jnp.concatenate([seen(dy, dx) for dy in range(3) for dx in range(3)], -1)


class Convolutions(nn.Module):
    """Two 3x3 convolutions inside each part with BatchNorm, added to their input."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array, train: bool) -> jax.Array:
        """[B,h,w,D], [B,h,w] -> [B,h,w,D]."""
        y = x
        for i in range(2):
            kernel = nn.Dense(
                x.shape[-1], use_bias=False, kernel_init=he_normal, dtype=self.dtype, name=f"convolution_{i}"
            )
            y = batch_norm(train, self.dtype)(kernel(own_neighbours(y, labels)))
            y = nn.relu(y) if i == 0 else nn.relu(x + y)
        return y


class Block(nn.Module):
    """Attention inside each part, then a perceptron of twice the width, each after layer norm and added on."""

    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array) -> jax.Array:
        """[B,N,D], [B,N] -> [B,N,D]."""
        batch, count, width = x.shape
        y = nn.LayerNorm(dtype=self.dtype, name="attention_norm")(x)
        y = nn.Dense(3 * width, use_bias=False, dtype=self.dtype, name="query_key_value")(y)
        y = y.reshape(batch, count, 3, self.heads, width // self.heads)
        log_sharpness = self.param("log_sharpness", nn.initializers.constant(jnp.log(10.0)), (self.heads,))
        sharpness = jnp.minimum(jnp.exp(log_sharpness), SHARPEST)
        y = attend(y[:, :, 0], y[:, :, 1], y[:, :, 2], labels, sharpness).reshape(batch, count, width)
        x = x + nn.Dense(width, dtype=self.dtype, name="attention_output")(y.astype(self.dtype))
        y = nn.LayerNorm(dtype=self.dtype, name="mlp_norm")(x)
        y = nn.relu(nn.Dense(2 * width, dtype=self.dtype, name="mlp_hidden")(y))
        return x + nn.Dense(width, dtype=self.dtype, name="mlp_output")(y)


class Isolated(nn.Module):
    """Reads each part from its own pixels: `v_k = (1/N) sum_n m_kn z_n`.

    The part method's assignment is made hard (`harden`); the image is cut into disjoint cells of pixels, one a
    location of the masks; residual convolutions that see the cells of their own part alone (`own_neighbours`), then
    a transformer in which a token attends to a token only if both belong to the same part, encode them. No pixel is
    painted over, so there is no fill colour to read. The background's tokens are computed with the others and not
    read.

    Honest explanation, with a head that is linear in the codes: level 1 exactly; level 2 exactly, with the masks
    frozen, over `z`; level 3: given the masks, the vector of part k is a function of the pixels inside part k and
    of where part k lies, and of nothing else, bit for bit, for finite pixels. What it does not rule out is that
    the masks themselves, which were chosen from the whole image, tell the class: `evaluate.leakage` measures it.
    A part with no location has the vector zero, exactly; its code is then the bottleneck's constant (zero with
    `identity`), and so its contribution is a constant that no image changes.

    The area mean, and not the mean over the part: an absent part adds exactly zero, and its gradient to the masks
    is as large as that of any part. Divided by the mask's own size, where that is one location or more, small masks
    pull harder, and both stages learn less (docs/study.md).

    Gradients reach the part method through the masks in the area mean alone, as if each `z_n` stood for whichever
    part takes it; the masks of attention and convolutions have none.

    Forward and backward on two CPU cores (batch 64, 64x64 to 16x16x64, CPU time over two, where PatchNet takes
    153 ms): 266 ms; 146 with one block, 354 with four heads. A model of landmarks goes from 156 ms to 422.

    Attributes:
        width: D, of the tokens; a multiple of `heads`.
        depth: number of transformer blocks.
        heads: of the attention.
        convolutions: residual pairs of 3x3 convolutions before them, with BatchNorm; 1 layer at least of both kinds.
        dtype: of the computation; attention weights, parameters and the area mean are float32.

    Call:
        image: f32 [B,H,W,C], standardised.
        proposal: `Parts` of the part method; H and W are the same multiple of its h and w.
        train: whether BatchNorm reads the batch; level 3 holds without.

    Returns:
        the tokens [B,h,w,D], and `Parts` with masks of zeros and ones as assignment and background, the
        proposal's similarity, and no scores.

    Raises:
        UserError: an image that is not cut into square cells by the masks, a width that heads do not divide, no
            layer.

    Example:
        >>> image, masks = jnp.ones((2, 16, 16, 3)), jnp.ones((2, 1, 4, 4))
        >>> start = jax.jit(Isolated(width=8, depth=1).init_with_output, static_argnames="train")
        >>> (tokens, parts), variables = start(jax.random.key(0), image, regions(masks), train=False)
        >>> tokens.shape, parts.vectors.shape
        ((2, 4, 4, 8), (2, 1, 8))

    Source: iFAM (Aniraj et al. 2025, arXiv 2506.08915), a second stage that attends to selected patches only,
    trained jointly with the first, which has a classifier too; patch tokens, ViT (Dosovitskiy et al. 2021).
    Departures: iFAM's second stage separates the selected regions from the background, its parts see each other;
    here each part sees itself alone. Convolutions first, which the transformer lacks and small data needs (as in
    CMT, Guo et al. 2022). Cosine attention (see `attend`); small and trained from scratch.
    """

    width: int = 64
    depth: int = 2
    heads: int = 2
    convolutions: int = 0
    dtype: Any = jnp.float32
    read_out = staticmethod(readout.area_mean)

    @nn.compact
    def __call__(self, image: jax.Array, proposal: Parts, train: bool) -> tuple[jax.Array, Parts]:
        """Encodes the image part by part."""
        if self.depth + self.convolutions < 1 or self.heads < 1 or self.width % self.heads:
            layers = f"depth {self.depth}, {self.convolutions} pairs of convolutions"
            found = f"width {self.width}, {layers}, {self.heads} heads"
            raise UserError(f"isolated: {found}; expected a block and a width that is a multiple of the heads")
        masks, background = harden(proposal.assignment, proposal.background)
        tokens = self._encode(image, masks, train)
        parts = Parts(
            similarity=proposal.similarity,
            assignment=masks,
            background=background,
            vectors=self.read_out(tokens, masks),
            scores=None,
            presence=readout.presence(masks),
            centroid=readout.centroid(masks),
        )
        return tokens, parts

    def _encode(self, image: jax.Array, masks: jax.Array, train: bool) -> jax.Array:
        """Tokens f32 [B,h,w,D] that have seen the pixels of their own part."""
        batch, _, h, w = masks.shape
        height, width = image.shape[1:3]
        if height % h or width % w or height // h != width // w:
            raise UserError(f"image of {height}x{width} and masks of {h}x{w}; expected the same multiple of each side")
        x = patches(image.astype(self.dtype), height // h)
        place = self.param("position", nn.initializers.normal(0.02), (h * w, self.width))
        x = nn.Dense(self.width, dtype=self.dtype, name="embedding")(x)
        x = x + place.astype(self.dtype).reshape(h, w, self.width)
        rest = jnp.full_like(masks[:, :1], 0.5)  # wins where no mask is one: the background's own label
        labels = jnp.argmax(jnp.concatenate([masks, rest], 1), 1)
        for i in range(self.convolutions):
            x = Convolutions(self.dtype, name=f"convolutions_{i}")(x, labels, train)
        x, labels = x.reshape(batch, h * w, self.width), labels.reshape(batch, h * w)
        for i in range(self.depth):
            x = Block(self.heads, self.dtype, name=f"block_{i}")(x, labels)
        x = nn.LayerNorm(dtype=jnp.float32, name="norm")(x)
        return x.reshape(batch, h, w, self.width)


READOUTS = {"isolated": Isolated}
