"""Optimiser settings to optax transforms: schedules, clipping, weight decay, rates and freezing by path."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, muon

from partrep import UserError, lookup
from partrep.train.settings import from_mapping

Tree = Any
Schedule = Callable[[Any], jax.Array]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Settings of one stage's optimiser; times are shares of the stage, so a short run keeps its shape."""

    name: str = "adamw"  # adamw | adam | muon | sgd (Nesterov)
    learning_rate: float = 1e-3  # the peak
    schedule: str = "cosine"  # constant | cosine | one_cycle | step
    warmup: float = 0.0  # share of the stage, [0, 1)
    final: float = 0.0  # cosine and one_cycle end at final * learning_rate
    milestones: tuple[float, ...] = (0.5, 0.75)  # step: shares of the stage at which the rate drops
    factor: float = 0.1  # step: by which it drops
    weight_decay: float = 0.0  # adamw: decoupled; sgd: added to the gradient; never on ndim <= 1
    clip: float = 0.0  # largest global gradient norm; 0 clips nothing
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    muon_rate: float = 5.0  # muon: how many times the rate its kernels move at; all others at the rate, by NAdam
    multipliers: tuple[tuple[str, float], ...] = ()  # (path pattern, factor of the rate); first match counts


def _constant(settings: Optimizer, progress: jax.Array) -> jax.Array:
    return jnp.ones_like(progress)


def _cosine(settings: Optimizer, progress: jax.Array) -> jax.Array:
    return settings.final + (1 - settings.final) * 0.5 * (1 + jnp.cos(jnp.pi * progress))


def _drops(settings: Optimizer, share: jax.Array) -> jax.Array:
    passed = sum((share >= milestone).astype(jnp.float32) for milestone in settings.milestones)
    return jnp.float32(settings.factor) ** passed


# Each maps progress after the warm-up, in [0, 1], to a factor of the peak rate.
SCHEDULES = {"constant": _constant, "cosine": _cosine, "one_cycle": _cosine, "step": _drops}
ONE_CYCLE_START = 1 / 25  # of the peak, as in Smith & Topin's super-convergence and PyTorch's OneCycleLR


def make_schedule(settings: Optimizer, steps: int) -> Schedule:
    """Returns rate(t) for the t-th step of a stage of `steps` steps.

    The warm-up of w = round(warmup * steps) steps is linear, peak * (t + 1) / w; for one_cycle it is a half
    cosine from peak / 25. cosine and one_cycle then fall to final * peak, reached at t = steps; step
    multiplies by `factor` at each milestone.

    >>> rate = make_schedule(Optimizer(learning_rate=0.1, schedule="cosine", warmup=0.2), 10)
    >>> [round(float(rate(t)), 3) for t in (0, 1, 2, 6, 10)]
    [0.05, 0.1, 0.1, 0.05, 0.0]
    """
    after = lookup(SCHEDULES, settings.schedule, "schedule")
    if not 0 <= settings.warmup < 1:
        raise UserError(f"found warmup {settings.warmup}; expected a share of the stage in [0, 1)")
    if settings.schedule == "one_cycle" and settings.warmup == 0:
        raise UserError("found one_cycle with warmup 0; expected a share in (0, 1), e.g. 0.3")
    warm = round(settings.warmup * steps)

    def rate(t: Any) -> jax.Array:
        t = jnp.asarray(t, jnp.float32)
        if settings.schedule == "one_cycle":
            rise = 0.5 * (1 - jnp.cos(jnp.pi * t / max(warm, 1)))
            rising = ONE_CYCLE_START + (1 - ONE_CYCLE_START) * rise
        else:
            rising = (t + 1) / max(warm, 1)
        if settings.schedule == "step":
            progress = t / max(steps, 1)
        else:
            progress = jnp.clip((t - warm) / max(steps - warm, 1), 0, 1)
        return settings.learning_rate * jnp.where(t < warm, rising, after(settings, progress))

    return rate


def paths(params: Tree) -> Tree:
    """Returns the tree of '/'-joined parameter paths.

    >>> paths({"head": {"kernel": 1, "bias": 2}})
    {'head': {'bias': 'head/bias', 'kernel': 'head/kernel'}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path, simple=True, separator="/"), params
    )


def match(params: Tree, pattern: str) -> Tree:
    """Returns the tree of bools: does `pattern` match the whole path? Matching nothing is a `UserError`."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"found the path pattern {pattern!r}, no regular expression: {error}") from error
    names = paths(params)
    mask = jax.tree.map(lambda name: expression.fullmatch(name) is not None, names)
    if not any(jax.tree.leaves(mask)):
        known = jax.tree.leaves(names)
        shown = ", ".join(known[:4]) + (", ..." if len(known) > 4 else "")
        raise UserError(f"the path pattern {pattern!r} matches no parameter; known are {shown}")
    return mask


def partition(params: Tree, mask: Tree) -> tuple[Tree, Tree]:
    """Splits into (moving, frozen) trees with None in each other's places, which optax and grad skip."""
    moving = jax.tree.map(lambda keep, leaf: leaf if keep else None, mask, params)
    frozen = jax.tree.map(lambda keep, leaf: None if keep else leaf, mask, params)
    return moving, frozen


def merge(moving: Tree, frozen: Tree) -> Tree:
    """Undoes `partition`."""
    return jax.tree.map(lambda a, b: b if a is None else a, moving, frozen, is_leaf=lambda x: x is None)


def _multiplied(multipliers: tuple[tuple[str, float], ...], params: Tree) -> optax.GradientTransformation:
    factors = jax.tree.map(lambda _: 1.0, params)
    for pattern, factor in reversed(multipliers):
        factors = jax.tree.map(lambda hit, old, new=factor: new if hit else old, match(params, pattern), factors)
    return optax.stateless(lambda updates, _: jax.tree.map(lambda f, u: f * u, factors, updates))


def _decay(settings: Optimizer, params: Tree) -> optax.GradientTransformation:
    """Weight decay on matrices and kernels; biases and scales (ndim <= 1) are left alone."""
    return optax.add_decayed_weights(settings.weight_decay, jax.tree.map(lambda leaf: leaf.ndim > 1, params))


def _adam(settings: Optimizer) -> optax.GradientTransformation:
    return optax.scale_by_adam(*settings.betas, eps=settings.eps)


def _plain_adam(settings: Optimizer, params: Tree) -> list[optax.GradientTransformation]:
    if settings.weight_decay:
        raise UserError(f"found adam with weight_decay {settings.weight_decay}; expected 0, or adamw")
    return [_adam(settings)]


def _adamw(settings: Optimizer, params: Tree) -> list[optax.GradientTransformation]:
    return [_adam(settings), _decay(settings, params)]


def _sgd(settings: Optimizer, params: Tree) -> list[optax.GradientTransformation]:
    return [_decay(settings, params), optax.trace(settings.momentum, nesterov=True)]


def _muon(settings: Optimizer, params: Tree) -> list[optax.GradientTransformation]:
    """Muon (Jordan et al. 2024) on the kernels of convolutions, each as a matrix [inputs, outputs].

    The momentum is optax's, left as long as the update will be; `turned` makes it orthogonal, in a third of the time.
    """

    def as_matrix(leaf: Any) -> MuonDimensionNumbers | None:
        return MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1) if leaf.ndim == 4 else None

    b1, b2 = settings.betas
    core = muon(
        settings.muon_rate,
        ns_steps=0,
        eps=settings.eps,
        adam_b1=b1,
        adam_b2=b2,
        adam_learning_rate=1.0,
        muon_weight_dimension_numbers=lambda tree: jax.tree.map(as_matrix, tree),
    )
    # Its updates point downhill already, and the learning rate behind will turn them.
    uphill = optax.stateless_with_tree_map(lambda update, _: -(turned(update) if as_matrix(update) else update))
    return [core, uphill, _decay(settings, params)]


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients a, b, c of X <- (a + b XX' + c (XX')^2) X, which is done five times."""


def turned(kernel: jax.Array) -> jax.Array:
    """Returns a kernel [..., outputs] as a matrix |M| NS(M/|M|), near a multiple of the nearest orthogonal one.

    Each of the five steps of Newton and Schulz multiplies by a polynomial of the Gram matrix. They are taken on that
    matrix alone, which is as wide as the shorter side, and the kernel is multiplied once, by their product. Rounding
    grows some 10^4 times on the way: the products are at full precision, on accelerators too.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    length = jnp.linalg.norm(matrix)
    wide = matrix.shape[0] < matrix.shape[1]
    unit = (matrix.T if wide else matrix) / jnp.maximum(length, jnp.finfo(matrix.dtype).tiny)
    a, b, c = NEWTON_SCHULZ
    with jax.default_matmul_precision("highest"):
        gram = unit.T @ unit
        product = eye = jnp.eye(len(gram), dtype=gram.dtype)
        for _ in range(5):
            step = a * eye + b * gram + c * gram @ gram
            gram, product = step @ gram @ step, product @ step
        orthogonal = unit @ product
    return length * (orthogonal.T if wide else orthogonal).reshape(kernel.shape)


OPTIMIZERS = {"adamw": _adamw, "adam": _plain_adam, "muon": _muon, "sgd": _sgd}


def make_optimizer(settings: Optimizer | Mapping[str, Any], params: Tree, steps: int) -> optax.GradientTransformation:
    """Returns the transform for a stage of `steps` steps over `params` (arrays or their shapes)."""
    settings = from_mapping(Optimizer, settings)
    core = lookup(OPTIMIZERS, settings.name, "optimizer")(settings, params)
    clip = [optax.clip_by_global_norm(settings.clip)] if settings.clip else []
    rates = [_multiplied(settings.multipliers, params)] if settings.multipliers else []
    return optax.chain(*clip, *core, *rates, optax.scale_by_learning_rate(make_schedule(settings, steps)))
