"""Classifiers over one score a part: (codes [B,K,1], presence [B,K], train) -> logits f32 [B,C]."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.parts.queries import class_tied

EXACT = jax.lax.Precision.HIGHEST


def _scores(head: str, codes: jax.Array) -> jax.Array:
    """The scores f32 [B,K] of codes [B,K,1]."""
    if codes.shape[-1] != 1:
        raise UserError(f"the {head} head found codes of width {codes.shape[-1]}; expected one score a part")
    return codes[..., 0].astype(jnp.float32)


def class_tied_kernel(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> jax.Array:
    """An initialiser [P,C]: +1 from a prototype to its own class, -0.5 to the others.

    >>> class_tied_kernel(jax.random.key(0), (4, 2)).tolist()
    [[1.0, -0.5], [1.0, -0.5], [-0.5, 1.0], [-0.5, 1.0]]
    """
    prototypes, classes = shape
    if prototypes % classes:
        raise UserError(
            f"the class_tied head found {prototypes} prototypes and {classes} classes; expected as many for each class"
        )
    own = class_tied(classes, prototypes // classes)[:, None] == jnp.arange(classes)
    return jnp.where(own, 1.0, -0.5).astype(dtype)


class ClassTied(nn.Module):
    """A linear classifier over class-tied prototypes: logits = sum_p s_p w_p, no bias.

    Linear in the codes: contributions s_p w_p are exact. w [P,C] starts at `scale` for the prototype's own class and
    at -0.5 `scale` for every other. The classes are those of `partrep.parts.queries.class_tied`, in equal numbers.
    Source: Chen et al., This Looks Like That (NeurIPS 2019), section 2.2.

    Attributes:
        classes: C.
        scale: 1 for scores without an upper bound (the source); cosines, at most one, need more to tell classes apart.

    >>> head = ClassTied(classes=2)
    >>> codes, presence = jnp.array([[[3.0], [1.0]]]), jnp.ones((1, 2))
    >>> variables = head.init(jax.random.key(0), codes, presence, False)
    >>> head.apply(variables, codes, presence, False).tolist()
    [[2.5, -0.5]]
    """

    classes: int
    scale: float = 1.0
    linear_in_codes = True

    @nn.compact
    def _terms(self, codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The scores [B,P] and the weights [P,C]."""
        scores = _scores("class_tied", codes)
        return scores, self.param("kernel", self._start, (scores.shape[1], self.classes))

    def _start(self, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        return self.scale * class_tied_kernel(key, shape)

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,P,1], [B,P] -> [B,C]."""
        return jnp.matmul(*self._terms(codes), precision=EXACT)

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,P,1], [B,P] -> [B,P,C], summing to the logits."""
        scores, kernel = self._terms(codes)
        return scores[..., None] * kernel


def shrink(kernel: jax.Array, amount: float = 1e-3) -> jax.Array:
    """Takes a little off every weight and stops at zero, after each step: `w <- max(w - amount, 0)`.

    With a step of gradient descent before it, the proximal step of an L1 penalty on weights >= 0. A weight at zero
    gets no gradient through the head's ReLU and stays there.

    >>> shrink(jnp.array([0.75, 0.125, -1.0]), 0.25).tolist()
    [0.5, 0.0, 0.0]

    Source: Nauta et al., PIP-Net (CVPR 2023), the released code, amount 1e-3.
    """
    return jnp.maximum(kernel - amount, 0.0)


class NonNegative(nn.Module):
    """A sparse scoring sheet: logits = sum_k s_k relu(w_k), no bias; parts speak for classes, never against.

    Linear in the codes: contributions s_k relu(w_k) are exact. w [K,C] starts normal, mean 1, deviation 0.1; `shrink`
    after each step makes it sparse. In training the cross entropy is of `squared_log` of the logits, see
    `partrep.losses.exclusive`.
    Source: Nauta et al., PIP-Net (CVPR 2023), section 3.

    Attributes:
        classes: C.

    >>> head = NonNegative(classes=2)
    >>> codes, presence = jnp.array([[[0.5], [1.0]]]), jnp.ones((1, 2))
    >>> head.apply({"params": {"kernel": jnp.array([[2.0, -3.0], [0.0, 4.0]])}}, codes, presence, False).tolist()
    [[1.0, 4.0]]
    """

    classes: int
    linear_in_codes = True

    @nn.compact
    def _terms(self, codes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The scores [B,K] and the weights [K,C] >= 0."""
        scores = _scores("nonnegative", codes)
        shape = (scores.shape[1], self.classes)
        kernel = self.param("kernel", lambda key: 1.0 + 0.1 * jax.random.normal(key, shape))
        return scores, nn.relu(kernel)

    def __call__(self, codes: jax.Array, presence: jax.Array, train: bool) -> jax.Array:
        """[B,K,1], [B,K] -> [B,C]."""
        return jnp.matmul(*self._terms(codes), precision=EXACT)

    def contributions(self, codes: jax.Array, presence: jax.Array) -> jax.Array:
        """[B,K,1], [B,K] -> [B,K,C], summing to the logits."""
        scores, kernel = self._terms(codes)
        return scores[..., None] * kernel
