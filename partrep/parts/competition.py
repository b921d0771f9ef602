"""How parts compete for locations: similarity [B,K,h,w] in, assignment f32 [B,K,h,w] >= 0 out.

A background is one more similarity, `with_background`, taken off again by `split_background`:
`split_background(softmax(with_background(similarity, background)))`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from partrep import UserError
from partrep.shapes import check_shapes

SMALLEST_ROOM = 1e-6
MINUS_INFINITY = -1e30  # finite, so that masses of zero have gradients


def with_background(similarity: jax.Array, background: jax.Array | float) -> jax.Array:
    """Appends the background's similarity, [B,h,w] or one number, as the last of K+1 parts.

    >>> with_background(jnp.zeros((2, 3, 4, 4)), 1.0).shape
    (2, 4, 4, 4)
    """
    check_shapes("with_background", similarity=(similarity, "B K h w"))
    plane = similarity[:, 0]
    if jnp.ndim(background):
        check_shapes("with_background", similarity=(plane, "B h w"), background=(background, "B h w"))
    return jnp.concatenate([similarity, jnp.broadcast_to(background, plane.shape)[:, None]], axis=1)


def split_background(assignment: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Takes the last of K+1 parts off: assignment [B,K,h,w], background [B,h,w].

    >>> [x.shape for x in split_background(jnp.zeros((2, 4, 5, 5)))]
    [(2, 3, 5, 5), (2, 5, 5)]
    """
    sizes = check_shapes("split_background", assignment=(assignment, "B K h w"))
    if sizes["K"] < 2:
        raise ValueError("split_background: assignment has 1 part; expected 2 or more, the last the background")
    return assignment[:, :-1], assignment[:, -1]


def reserve_border(
    assignment: jax.Array, background: jax.Array | None, width: int
) -> tuple[jax.Array, jax.Array | None]:
    """Gives the cells along the image's edge to one more part, the last, and takes them from all others.

    The edge of a photo shows the surroundings far more often than the object: a part that is wherever the edge is
    has a place for what they say.

    Args:
        assignment: [B,K,h,w] >= 0, `a`.
        background: [B,h,w] >= 0, the share of no part; None where every location goes to some part.
        width: of the border in cells, >= 1.

    Returns:
        assignment f32 [B,K+1,h,w] and the background, of which sums over parts and background are as before but for
        the border, where they are one.

    Raises:
        ValueError: shapes that do not agree.
        UserError: a border that leaves no inside.

    Example:
        >>> made, _ = reserve_border(jnp.full((1, 1, 3, 3), 0.5), None, 1)
        >>> made[0, 0].tolist(), made[0, 1].sum().tolist()
        ([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]], 8.0)

    Source: the boundary prior of saliency (Wei et al. 2012, "Geodesic saliency using background priors", section 2).
    """
    shapes = {"assignment": (assignment, "B K h w"), "background": (background, "B h w")}
    sizes = check_shapes("reserve_border", **shapes)
    if not 1 <= width < (min(sizes["h"], sizes["w"]) + 1) // 2:
        found = f"a border of {width} cells, a grid of {sizes['h']}x{sizes['w']}"
        raise UserError(f"reserve_border: {found}; expected at least 1, and cells inside")
    inside = jnp.zeros((sizes["h"], sizes["w"])).at[width:-width, width:-width].set(1.0)
    border = jnp.broadcast_to(1 - inside, (sizes["B"], 1, *inside.shape))
    reserved = jnp.concatenate([assignment.astype(jnp.float32) * inside, border], axis=1)
    return reserved, None if background is None else background * inside


def independent(similarity: jax.Array) -> jax.Array:
    """No competition: each part judges each location alone, `a_kn = sigmoid(s_kn)`.

    Args:
        similarity: [B,K,h,w]; scale and shift it first where 0 is not the natural threshold.

    Returns:
        f32 [B,K,h,w] in [0,1]; the sum over parts is free.

    Raises:
        ValueError: not four axes.

    Example:
        >>> independent(jnp.zeros((1, 2, 1, 1))).ravel().tolist()
        [0.5, 0.5]

    Source: standard. Methods whose similarity is already a share, or that only score, need no function here.
    """
    check_shapes("independent", similarity=(similarity, "B K h w"))
    return jax.nn.sigmoid(similarity.astype(jnp.float32))


def softmax(similarity: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """Parts share each location, `a_kn = exp(s_kn / t) / sum_l exp(s_ln / t)`.

    Args:
        similarity: [B,K,h,w].
        temperature: > 0, `t`.

    Returns:
        f32 [B,K,h,w]; the sum over parts is 1 at each location.

    Raises:
        ValueError: not four axes.

    Example:
        >>> softmax(jnp.zeros((1, 4, 1, 1))).ravel().tolist()
        [0.25, 0.25, 0.25, 0.25]

    Source: Huang and Li (2020), grouping unit; PDiscoNet (2023), over K+1 parts.
    """
    check_shapes("softmax", similarity=(similarity, "B K h w"))
    return jax.nn.softmax(similarity.astype(jnp.float32) / temperature, axis=1)


def gumbel_softmax(
    similarity: jax.Array, temperature: float | jax.Array = 1.0, key: jax.Array | None = None
) -> jax.Array:
    """Softmax over parts of the similarity plus Gumbel noise, `a = softmax((s + g) / t)`.

    Args:
        similarity: [B,K,h,w].
        temperature: > 0, `t`.
        key: a random key; None, as in evaluation, adds no noise.

    Returns:
        f32 [B,K,h,w]; the sum over parts is 1 at each location.

    Raises:
        ValueError: not four axes.

    Example:
        >>> s = jnp.ones((1, 2, 1, 1))
        >>> bool((gumbel_softmax(s) == softmax(s)).all())
        True

    Source: Jang et al. (2017); PDiscoFormer (Aniraj et al. 2024).
    Departures: the released PDiscoFormer also adds the noise in evaluation; here there is none without a key.
    """
    if key is not None:
        similarity = similarity + jax.random.gumbel(key, similarity.shape, jnp.float32)
    return softmax(similarity, temperature)


def _check_positive(function: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if number <= 0:
            raise ValueError(f"{function}: {name} is {number}; expected it positive")


def _safe_log(mass: jax.Array) -> jax.Array:
    return jnp.where(mass > 0, jnp.log(jnp.where(mass > 0, mass, 1.0)), MINUS_INFINITY)


def transport(
    scores: jax.Array,
    row_mass: jax.Array,
    column_mass: jax.Array,
    epsilon: float = 0.05,
    iterations: int = 50,
) -> jax.Array:
    """The entropic optimal transport plan, `argmax_P <P, S> + epsilon H(P)` with given marginals.

    Log-domain Sinkhorn: `f = log a - lse_n(S / epsilon + g)`, `g = log b - lse_k(S / epsilon + f)`, columns
    last.

    Args:
        scores: [...,K,N], `S`, a similarity (minus a cost).
        row_mass: [...,K] >= 0, `a`.
        column_mass: [...,N] >= 0, `b`, of the same sum as the rows.
        epsilon: > 0; smaller is nearer to a hard matching and needs more iterations.
        iterations: > 0.

    Returns:
        f32 [...,K,N] >= 0; sums over K equal `b` to rounding, sums over N tend to `a` with the iterations.

    Raises:
        ValueError: shapes that do not agree, epsilon or iterations not positive.

    Example:
        >>> half = jnp.full(2, 0.5)
        >>> transport(jnp.eye(2), half, half).round(3).tolist()
        [[0.5, 0.0], [0.0, 0.5]]

    Source: Cuturi (2013), algorithm 1; log domain as in Peyre and Cuturi (2019), section 4.4.
    """
    rows_columns = {"row_mass": (row_mass, "... K"), "column_mass": (column_mass, "... N")}
    check_shapes("transport", scores=(scores, "... K N"), **rows_columns)
    _check_positive("transport", epsilon=epsilon, iterations=iterations)
    logits = scores.astype(jnp.float32) / epsilon
    rows, columns = (_safe_log(jnp.asarray(m, jnp.float32)) for m in (row_mass, column_mass))

    @jax.checkpoint
    def step(g, _):
        f = rows - logsumexp(logits + g[..., None, :], axis=-1)
        return columns - logsumexp(logits + f[..., :, None], axis=-2), f

    start = jnp.zeros(logits.shape[:-2] + logits.shape[-1:], jnp.float32)
    g, f = jax.lax.scan(step, start, None, length=iterations)
    return jnp.exp(logits + f[-1][..., :, None] + g[..., None, :])


def sinkhorn(
    similarity: jax.Array, part_share: jax.Array | None = None, epsilon: float = 0.05, iterations: int = 50
) -> jax.Array:
    """Parts share each location and each part takes a given share of the image (balanced competition).

    `a = N P`, with `P` the entropic plan of `transport` from parts of mass `part_share` to locations of mass
    `1/N`.

    Args:
        similarity: [B,K,h,w].
        part_share: [K] or [B,K] >= 0, summing to 1 over parts; None is `1/K` each.
        epsilon: > 0, the temperature.
        iterations: > 0.

    Returns:
        f32 [B,K,h,w]; the sum over parts is 1 at each location, the mean over locations is `part_share`.

    Raises:
        ValueError: shapes that do not agree, epsilon or iterations not positive.

    Example:
        >>> sinkhorn(jnp.zeros((1, 2, 1, 2)), jnp.array([0.25, 0.75])).round(2).tolist()
        [[[[0.25, 0.25]], [[0.75, 0.75]]]]

    Source: Cuturi (2013); as balanced assignment, SwAV (Caron et al. 2020), equation 3.
    """
    sizes = check_shapes("sinkhorn", similarity=(similarity, "B K h w"))
    batch, parts, count = sizes["B"], sizes["K"], sizes["h"] * sizes["w"]
    if part_share is None:
        part_share = jnp.full((parts,), 1.0 / parts)
    check_shapes("sinkhorn", similarity=(similarity, "B K h w"), part_share=(part_share, "... K"))
    share = jnp.broadcast_to(part_share, (batch, parts))
    flat = similarity.reshape(batch, parts, count)
    plan = transport(flat, share, jnp.full((batch, count), 1.0 / count), epsilon, iterations)
    return (count * plan).reshape(similarity.shape)


def _check_matching(function: str, similarity: jax.Array) -> tuple[int, int]:
    sizes = check_shapes(function, similarity=(similarity, "B K h w"))
    parts, count = sizes["K"], sizes["h"] * sizes["w"]
    if parts > count:
        raise ValueError(f"{function}: {parts} parts, {count} locations; expected no more parts than locations")
    return parts, count


def _alternate(scores: jax.Array, temperatures: jax.Array) -> jax.Array:
    """The plan [B,K,N] after one alternation at each temperature, the locations last.

    The duals `f`, `g` are in units of the scores, so that they stay good starts when the temperature falls.
    """

    @jax.checkpoint
    def step(g, t):
        f = -t * logsumexp((scores + g[:, None, :]) / t, axis=2)
        return jnp.minimum(0.0, -t * logsumexp((scores + f[:, :, None]) / t, axis=1)), f

    g, f = jax.lax.scan(step, jnp.zeros_like(scores[:, 0]), temperatures)
    return jnp.exp((scores + f[-1][:, :, None] + g[:, None, :]) / temperatures[-1])


def soft_assign(similarity: jax.Array, temperature: float = 0.05, iterations: int = 50) -> jax.Array:
    """Each part takes one location's worth of each image, and each location serves at most one part.

    `argmax_M <M, S> + t H(M)` with `sum_n m_kn = 1` and `sum_k m_kn <= 1`, by alternating
    `f = -lse_n(S / t + g)`, `g = min(0, -lse_k(S / t + f))`, the locations last.

    Args:
        similarity: [B,K,h,w], with K at most h*w.
        temperature: > 0, `t`; small is nearer to the Hungarian matching and needs more iterations.
        iterations: > 0.

    Returns:
        f32 [B,K,h,w]; sums over parts are at most 1 (the rest is background), sums over locations tend to 1.

    Raises:
        ValueError: not four axes, more parts than locations, temperature or iterations not positive.

    Example:
        >>> s = jnp.array([[[[1.0, 0.9, 0.0]], [[1.0, 0.0, 0.0]]]])
        >>> soft_assign(s)[0, :, 0].round(1).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]

    Source: Sicre et al. (2017, arXiv 1611.04413), iterative soft-assign.
    Departures: dual variables in place of scaling and clipping the matrix, so that the limit is the optimum
    of the stated problem rather than some feasible point; no annealing, the temperature is the caller's.
    """
    parts, count = _check_matching("soft_assign", similarity)
    _check_positive("soft_assign", temperature=temperature, iterations=iterations)
    scores = similarity.astype(jnp.float32).reshape(-1, parts, count)
    return _alternate(scores, jnp.full(iterations, temperature, jnp.float32)).reshape(similarity.shape)


def _fill_up(plan: jax.Array) -> jax.Array:
    """Rows of [B,K,N] brought to sum to 1 while columns stay at most 1: what rows lack goes where there is room."""
    plan = plan / jnp.maximum(jnp.sum(plan, axis=2, keepdims=True), 1.0)
    lack = jnp.maximum(1.0 - jnp.sum(plan, axis=2), 0.0)
    room = jnp.maximum(1.0 - jnp.sum(plan, axis=1), 0.0)
    total = jnp.maximum(jnp.sum(room, axis=1), SMALLEST_ROOM)  # at least the sum of what lacks, as K <= N
    return plan + lack[:, :, None] * (room / total[:, None])[:, None, :]


def annealed_soft_assign(
    similarity: jax.Array, temperatures: tuple[float, float] = (1.0, 0.02), rounds: int = 100
) -> jax.Array:
    """Each part takes one location of each image, and each location serves at most one part, nearly hard.

    `argmax_M <M, S> + t H(M)` with `sum_n m_kn = 1` and `sum_k m_kn <= 1`, by one alternation of `soft_assign` a
    round while `t` falls geometrically; then what a part's sum lacks of 1 is spread over locations with room.

    Args:
        similarity: [B,K,h,w], with K at most h*w.
        temperatures: > 0, the first and the last `t`, in units of the similarity: divide it by its spread first
            where its scale is not known.
        rounds: > 0.

    Returns:
        f32 [B,K,h,w] >= 0; sums over locations are 1, sums over parts at most 1 (the rest is background), both
        to rounding.

    Raises:
        ValueError: not four axes, more parts than locations, temperatures or rounds not positive.

    Example:
        >>> s = jnp.array([[[[1.0, 0.9, 0.0]], [[1.0, 0.0, 0.0]]]])
        >>> annealed_soft_assign(s)[0, :, 0].round(1).tolist()
        [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]

    Source: Sicre et al. (2017, arXiv 1611.04413), iterative soft-assign with annealing; the last step, Altschuler
    et al. (2017), algorithm 2.
    Departures: dual variables, as in `soft_assign`; one alternation a round instead of a loop to tolerance, so that
    the work is the same for every image, and the last step instead of the tolerance. Parts that look for the same
    thing still share a location's worth at the end.
    """
    parts, count = _check_matching("annealed_soft_assign", similarity)
    first, last = temperatures
    _check_positive("annealed_soft_assign", first_temperature=first, last_temperature=last, rounds=rounds)
    scores = similarity.astype(jnp.float32).reshape(-1, parts, count)
    schedule = jnp.geomspace(first, last, rounds, dtype=jnp.float32)
    return _fill_up(_alternate(scores, schedule)).reshape(similarity.shape)
