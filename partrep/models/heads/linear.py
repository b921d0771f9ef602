"""Classifiers over part codes: (codes [B,K,M], presence [B,K], train) -> logits f32 [B,C].

Each has a method `contributions(codes, presence) -> f32 [B,K,C]`, what every part added to every logit;
summed over parts it gives the evaluation logit less the bias. It is exact in the strong sense (a part's share
does not depend on the other parts) where the head is linear in the codes, which `linear_in_codes` says.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.directions import unit
from partrep.models.heads.attention import Attention
from partrep.models.heads.attributes import Attributes
from partrep.models.heads.autoencoders import Autoencoders
from partrep.models.heads.mlp import Mlp
from partrep.models.heads.reciprocal import Reciprocal
from partrep.models.heads.scores import ClassTied, NonNegative

_INIT = nn.initializers.lecun_normal()


class Linear(nn.Module):
    """One linear classifier shared by all parts, over modulated codes: logits = mean_k W (m_k * v_k) + b.

    Linear in the codes: contributions W (m_k * v_k) / K are exact. The modulation m [K,M] starts at one.
    Source: van der Klis et al., PDiscoNet (ICCV 2023), section 3; its part dropout zeroes whole parts in
    training. Departure: a bias, which no part is credited with.

    Attributes:
        classes: C.
        dropout: probability with which a part is left out in training, the others scaled up (rng "dropout").

    >>> head = Linear(classes=3)
    >>> codes, presence = jnp.ones((2, 4, 5)), jnp.ones((2, 4))
    >>> variables = head.init(jax.random.key(0), codes, presence, False)
    >>> share = head.apply(variables, codes, presence, method="contributions")
    >>> bool(jnp.allclose(share.sum(1), head.apply(variables, codes, presence, False), atol=1e-5))
    True
    """

    classes: int
    dropout: float = 0.0
    linear_in_codes = True

    @nn.compact
    def _terms(self, codes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The modulated codes [B,K,M], the shared weights [M,C] and the bias [C]."""
        k, m = codes.shape[1:]
        modulation = self.param("modulation", nn.initializers.ones, (k, m))
        kernel = self.param("kernel", _INIT, (m, self.classes))
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        return codes.astype(jnp.float32) * modulation, kernel, bias

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        codes, kernel, bias = self._terms(codes)
        if train and self.dropout:
            kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.dropout, codes.shape[:2])
            codes = codes * (kept / (1 - self.dropout))[..., None]
        return codes.mean(1) @ kernel + bias

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits less the bias."""
        codes, kernel, _ = self._terms(codes)
        return codes @ kernel / codes.shape[1]


class Concat(nn.Module):
    """One linear classifier over all parts side by side: logits = sum_k W_k v_k + b.

    Linear in the codes: contributions W_k v_k are exact. Costs K*M*C weights, which start near zero (0.01), so
    that the first steps move the classifier and not the features by its noise.

    With `shared`, `W_k = W + U_k`: what all parts say alike, and what a part says beside, from zero. Of vectors that
    sum to the pooled ones (area means of parts that cover the image), `U = 0` is the linear classifier of global
    pooling, and weight decay draws towards it.

    Attributes:
        classes: C.
        shared: whether the parts share a classifier besides.

    >>> head = Concat(classes=3)
    >>> codes, presence = jnp.ones((2, 4, 5)), jnp.ones((2, 4))
    >>> variables = head.init(jax.random.key(0), codes, presence, False)
    >>> share = head.apply(variables, codes, presence, method="contributions")
    >>> bool(jnp.allclose(share.sum(1), head.apply(variables, codes, presence, False), atol=1e-5))
    True
    """

    classes: int
    shared: bool = False
    linear_in_codes = True

    @nn.compact
    def _terms(self, codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The shares of the parts [B,K,C] and the bias [C]."""
        k, m = codes.shape[1:]
        start = nn.initializers.zeros if self.shared else nn.initializers.normal(0.01)
        kernel = self.param("kernel", start, (k, m, self.classes))
        if self.shared:
            kernel = kernel + self.param("shared", nn.initializers.normal(0.01), (m, self.classes))
        bias = self.param("bias", nn.initializers.zeros, (self.classes,))
        return jnp.einsum("bkm,kmc->bkc", codes.astype(jnp.float32), kernel), bias

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        share, bias = self._terms(codes)
        return share.sum(1) + bias

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits less the bias."""
        return self._terms(codes)[0]


class Cosine(nn.Module):
    """Cosine classifier of the embedding: scale * cos(w_c, e), e = sum_k presence_k v_k / sum_k presence_k.

    Not linear: the contributions scale * <w_c/|w_c|, presence_k v_k> / (sum presence * |e|) sum to the logit,
    but the length |e| that divides them depends on all parts. Source: Chen et al., A Closer Look at Few-shot
    Classification (ICLR 2019), Baseline++, section 3. Departure: the scale is fixed, not learned.

    Attributes:
        classes: C.
        scale: of the cosines, > 0.

    >>> head = Cosine(classes=3, scale=10.0)
    >>> variables = head.init(jax.random.key(0), jnp.ones((2, 4, 5)), jnp.ones((2, 4)), False)
    >>> bool((abs(head.apply(variables, jnp.ones((2, 4, 5)), jnp.ones((2, 4)), False)) <= 10.0).all())
    True
    """

    classes: int
    scale: float = 10.0
    linear_in_codes = False

    @nn.compact
    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits."""
        kernel = self.param("kernel", _INIT, (codes.shape[-1], self.classes))
        presence = presence.astype(jnp.float32)
        share = presence / jnp.maximum(presence.sum(-1, keepdims=True), 1e-6)
        weighted = codes.astype(jnp.float32) * share[..., None]
        length = jnp.maximum((weighted.sum(1) ** 2).sum(-1), 1e-12)
        return self.scale * jax.lax.rsqrt(length)[:, None, None] * (weighted @ unit(kernel.T).T)

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        return self.contributions(codes, presence).sum(1)


class ConcatCosine(nn.Module):
    """Cosine classifier of all parts side by side: scale * <w_c, v> / (|w_c| |v|), v = (v_1, ..., v_K).

    Not linear: the contributions scale * <w_ck, v_k> / (|w_c| |v|) sum to the logit, but the length |v| that
    divides them depends on all parts. Presence does not enter: an absent part counts by the code it has. Costs
    K*M*C weights. Source: as for `Cosine`.

    Attributes:
        classes: C.
        scale: of the cosines, > 0.

    >>> head = ConcatCosine(classes=1)
    >>> codes = jnp.array([[[3.0, 0.0], [0.0, 4.0]]])
    >>> head.apply({"params": {"kernel": jnp.ones((2, 1, 2))}}, codes, jnp.ones((1, 2)), False).round(4).tolist()
    [[7.0]]
    """

    classes: int
    scale: float = 10.0
    linear_in_codes = False

    @nn.compact
    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits."""
        b, k, m = codes.shape
        kernel = self.param("kernel", nn.initializers.normal(m**-0.5), (k, self.classes, m))
        templates = unit(kernel.transpose(1, 0, 2).reshape(self.classes, k * m)).reshape(self.classes, k, m)
        sides = unit(codes.reshape(b, k * m)).reshape(b, k, m)
        return self.scale * jnp.einsum("bkm,ckm->bkc", sides, templates)

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        return self.contributions(codes, presence).sum(1)


class PartsCosine(nn.Module):
    """Every part meets its own template of each class: logits = scale * sum_k p_k cos(v_k, w_ck) / sum_k p_k.

    Not linear in the codes (each is scaled to length one), but additive over the parts once the presences are
    given: the contributions scale * p_k cos(v_k, w_ck) / sum p are exact. Every part has to tell the classes
    apart by itself, which is what the part-aligned few-shot head then reads.

    Attributes:
        classes: C.
        scale: of the cosines, > 0.
        shared: one template a class for all parts (M*C weights) instead of one a part (K*M*C).

    >>> head = PartsCosine(classes=3)
    >>> variables = head.init(jax.random.key(0), jnp.ones((2, 4, 5)), jnp.ones((2, 4)), False)
    >>> variables["params"]["kernel"].shape
    (4, 3, 5)
    """

    classes: int
    scale: float = 10.0
    shared: bool = False
    linear_in_codes = False

    @nn.compact
    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,M], [B,K] -> [B,K,C], summing to the logits."""
        k, m = codes.shape[1:]
        shape = (1 if self.shared else k, self.classes, m)
        kernel = self.param("kernel", nn.initializers.normal(m**-0.5), shape)
        cosine = jnp.einsum("bkm,kcm->bkc", unit(codes), jnp.broadcast_to(unit(kernel), (k, *shape[1:])))
        presence = presence.astype(jnp.float32)
        share = presence / jnp.maximum(presence.sum(-1, keepdims=True), 1e-6)
        return self.scale * share[..., None] * cosine

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,M], [B,K] -> [B,C]."""
        return self.contributions(codes, presence).sum(1)


HEADS = {
    "attention": Attention,
    "attributes": Attributes,
    "autoencoders": Autoencoders,
    "class_tied": ClassTied,
    "concat": Concat,
    "concat_cosine": ConcatCosine,
    "cosine": Cosine,
    "linear": Linear,
    "mlp": Mlp,
    "nonnegative": NonNegative,
    "parts_cosine": PartsCosine,
    "reciprocal": Reciprocal,
}
