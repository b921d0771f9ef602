"""Classifiers fitted to an episode's support vectors: Baseline++ and ridge and logistic read-outs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from partrep import UserError
from partrep.models.heads.episode import Params, average, einsum, learned_scale, prepare, unit
from partrep.models.local import Local


def _images(support: Local, query: Local, support_mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One vector an image, the weighted mean of its local ones: [C,n,D] and [Q,D]."""
    support, query = prepare(support, query, support_mask)
    return average(support.vectors, support.weights, 2), average(query.vectors, query.weights, 1)


def _cross_entropy(logits: jax.Array, support_mask: jax.Array) -> jax.Array:
    """The mean cross-entropy of support logits [C,n,C] over the shots that count."""
    chosen = jnp.einsum("cnc->cn", jax.nn.log_softmax(logits))
    counted = support_mask.astype(chosen.dtype)
    return -(chosen * counted).sum() / jnp.maximum(counted.sum(), 1.0)


def _descend(loss, weights: Params, steps: int, learning_rate: float) -> Params:
    """`steps` of Adam on the whole support set."""
    optimizer = optax.adam(learning_rate, eps_root=1e-12)  # The root's gradient at zero has to be finite.

    def step(carry, _):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights), state, weights)
        return (optax.apply_updates(weights, updates), state), None

    (weights, _), _ = jax.lax.scan(step, (weights, optimizer.init(weights)), None, length=steps)
    return weights


def baseline_plus_plus_fit(
    support: jax.Array,
    support_mask: jax.Array,
    *,
    steps: int = 100,
    learning_rate: float = 0.01,
    scale: float = 10.0,
) -> Params:
    """Fits a cosine classifier to support vectors: min over w of the cross-entropy of scale * cos(x, w_c).

    Starts at the normalised class means, then `steps` of Adam on all shots together.

    Arguments:
        support: f32 [C,n,D], one vector an image.
        support_mask: bool [C,n].
        steps, learning_rate, scale: > 0.

    Returns:
        {"weights": [C,D] of length one}; logits are scale * cos(query, weights).

    >>> weights = baseline_plus_plus_fit(jnp.eye(2)[:, None], jnp.ones((2, 1), bool))["weights"]
    >>> (weights @ jnp.eye(2)).argmax(0).tolist()
    [0, 1]

    Source: Chen et al., A Closer Look at Few-shot Classification (ICLR 2019), section 3, 100 iterations.
    Departures: Adam on the whole set in place of SGD on batches of 4; starts at the means, not at random.
    """
    support = jnp.where(support_mask[..., None], support.astype(jnp.float32), 0.0)
    directions = unit(support)
    start = unit(average(directions, support_mask.astype(jnp.float32), 1))

    def loss(weights: Params) -> jax.Array:
        cosine = einsum("cnd,kd->cnk", directions, unit(weights["weights"]))
        return _cross_entropy(scale * cosine, support_mask)

    fitted = _descend(loss, {"weights": start}, steps, learning_rate)
    return {"weights": unit(fitted["weights"])}


def baseline_plus_plus(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    scale: float = 10.0,
    steps: int = 100,
    learning_rate: float = 0.01,
) -> jax.Array:
    """Baseline++ as a head: scale * cos(q, w_c), w fitted to the support by `baseline_plus_plus_fit`.

    Each image is the weighted mean of its vectors.

    Arguments:
        support, query, support_mask, params: see `partrep.models.heads.episode`.
        scale, steps, learning_rate: see `baseline_plus_plus_fit`.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    >>> baseline_plus_plus(support, one([[[3.0, 1.0]]]), jnp.ones((2, 1), bool)).argmax().item()
    0

    Source and departures: see `baseline_plus_plus_fit`.
    """
    images, asked = _images(support, query, support_mask)
    fitted = baseline_plus_plus_fit(
        images, support_mask, steps=steps, learning_rate=learning_rate, scale=scale
    )
    return scale * learned_scale(params) * einsum("qd,cd->qc", unit(asked), fitted["weights"])


def ridge_fit(support: jax.Array, support_mask: jax.Array, penalty: float = 1.0) -> Params:
    """Ridge regression of one-hot labels on support vectors, without penalty on the bias.

        W, b = argmin sum_i |x_i W + b - y_i|^2 + penalty |W|^2,  solved in the space of the examples

    Arguments:
        support: f32 [C,n,D], one vector an image.
        support_mask: bool [C,n].
        penalty: > 0, in units of a squared vector.

    Returns:
        {"weights": [D,C], "bias": [C]}.

    >>> fit = ridge_fit(jnp.array([[[1.0]], [[-1.0]]]), jnp.ones((2, 1), bool), penalty=2.0)
    >>> fit["weights"].round(3).tolist(), fit["bias"].round(3).tolist()
    ([[0.25, -0.25]], [0.5, 0.5])

    Source: Bertinetto et al., Meta-learning with Differentiable Closed-form Solvers (ICLR 2019), section 3.
    Departure: a free bias.
    """
    c, n, d = support.shape
    counted = support_mask.reshape(-1, 1).astype(jnp.float32)
    x = jnp.where(counted > 0, support.reshape(c * n, d).astype(jnp.float32), 0.0)
    y = jnp.repeat(jnp.eye(c), n, axis=0) * counted
    total = jnp.maximum(counted.sum(), 1.0)
    mean_x, mean_y = x.sum(0) / total, y.sum(0) / total
    x, y = (x - mean_x) * counted, (y - mean_y) * counted
    gram = einsum("id,jd->ij", x, x) + penalty * jnp.eye(c * n)
    weights = einsum("id,ic->dc", x, jax.scipy.linalg.solve(gram, y, assume_a="pos"))
    return {"weights": weights, "bias": mean_y - einsum("d,dc->c", mean_x, weights)}


def logistic_fit(
    support: jax.Array,
    support_mask: jax.Array,
    penalty: float = 1.0,
    *,
    steps: int = 100,
    learning_rate: float = 0.1,
) -> Params:
    """Logistic regression on support vectors: min of the mean cross-entropy + penalty |W|^2 / (2 N).

    `steps` of Adam from zero on all N shots together; scikit-learn's C is 1 / penalty.

    Arguments:
        support: f32 [C,n,D], one vector an image.
        support_mask: bool [C,n].
        penalty: >= 0, on the weights alone.
        steps, learning_rate: > 0.

    Returns:
        {"weights": [D,C], "bias": [C]}.

    >>> fit = logistic_fit(jnp.array([[[1.0]], [[-1.0]]]), jnp.ones((2, 1), bool))
    >>> bool(fit["weights"][0, 0] > 0 > fit["weights"][0, 1])
    True

    Source: Tian et al., Rethinking Few-Shot Image Classification (ECCV 2020), section 3.
    """
    c, _, d = support.shape
    support = jnp.where(support_mask[..., None], support.astype(jnp.float32), 0.0)
    total = jnp.maximum(support_mask.sum(), 1)

    def loss(weights: Params) -> jax.Array:
        logits = einsum("cnd,dk->cnk", support, weights["weights"]) + weights["bias"]
        return _cross_entropy(logits, support_mask) + penalty / (2 * total) * (weights["weights"] ** 2).sum()

    return _descend(loss, {"weights": jnp.zeros((d, c)), "bias": jnp.zeros(c)}, steps, learning_rate)


def linear_readout(
    support: Local,
    query: Local,
    support_mask: jax.Array,
    params: Params | None = None,
    *,
    kind: str = "ridge",
    penalty: float = 1.0,
    scale: float = 1.0,
) -> jax.Array:
    """A linear classifier fitted to the support: logits = scale * (x W + b).

    Each image is the weighted mean of its vectors, scaled to length one.

    Arguments:
        support, query, support_mask, params: see `partrep.models.heads.episode`.
        kind: "ridge" (`ridge_fit`) or "logistic" (`logistic_fit`).
        penalty: of the fit, on vectors of length one.
        scale: > 0.

    Raises:
        UserError: another kind.

    >>> one = lambda v: Local(jnp.array(v), jnp.ones(jnp.shape(v)[:-1]), jnp.zeros((*jnp.shape(v)[:-1], 2)))
    >>> support = one([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    >>> linear_readout(support, one([[[3.0, 1.0]]]), jnp.ones((2, 1), bool)).argmax().item()
    0

    Source: see `ridge_fit` and `logistic_fit`.
    """
    if kind not in ("ridge", "logistic"):
        raise UserError(f"kind {kind!r}; expected 'ridge' or 'logistic'")
    images, asked = _images(support, query, support_mask)
    fitted = (ridge_fit if kind == "ridge" else logistic_fit)(unit(images), support_mask, penalty)
    logits = einsum("qd,dc->qc", unit(asked), fitted["weights"]) + fitted["bias"]
    return scale * learned_scale(params) * logits
