"""Where part queries come from: sizes, class numbers, features or data in, queries f32 [K,D] or [B,K,D] out.

The functions of `partrep.parts.similarity` take both. Learned queries start from an initialiser, `unit_rows` or
those of Flax as they are (`nn.initializers.orthogonal`). Centres found without training,
`partrep.discovery.kmeans.fit_kmeans` [K,D], are queries as they are: the nearest centre has the greatest
`negative_squared_distance`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep import UserError
from partrep.directions import unit
from partrep.parts.readout import grid_positions
from partrep.shapes import check_shapes

LAST_RESORT = -1e30  # a finite logarithm: drawn only when nothing else is left, unlike minus infinity


def _check_count(function: str, name: str, count: int, most: int | None = None, of: str = "") -> None:
    if count < 1 or (most is not None and count > most):
        wanted = "at least 1" if most is None else f"1 to {most} {of}"
        raise UserError(f"{function}: {name} is {count}; expected {wanted}")


def unit_rows(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> jax.Array:
    """An initialiser of learned queries: random directions of length one, `p_k = g_k / |g_k|`, `g` normal.

    Args:
        key: a random key.
        shape: (K, D).
        dtype: of the result.

    Returns:
        [K,D] of `dtype`; directions are uniform on the sphere.

    Raises:
        UserError: a K or D under 1.

    Example:
        >>> rows = unit_rows(jax.random.key(0), (3, 8))
        >>> jnp.linalg.norm(rows, axis=1).round(4).tolist()
        [1.0, 1.0, 1.0]

    Source: standard.
    """
    _check_count("unit_rows", f"the smallest size of shape {tuple(shape)}", min(shape))
    return unit(jax.random.normal(key, shape)).astype(dtype)


def channels(depth: int, parts: int | None = None) -> jax.Array:
    """Each feature channel is a part: one-hot rows, `p_kd = [k = d]`, so that `dot` gives `s_kn = z_nk`.

    Args:
        depth: D >= 1.
        parts: K, 1 to D: the first K channels; None is all.

    Returns:
        f32 [K,D].

    Raises:
        UserError: a depth under 1, parts that are not 1 to D.

    Example:
        >>> channels(3, parts=2).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    Source: PIP-Net (Nauta et al. 2023), prototypes are the channels of the last feature map.
    Departures: PIP-Net takes a softmax over channels first; here that is the competition,
    `competition.softmax`. Where all channels are parts, moving the channel axis gives the same similarity
    without a product.
    """
    _check_count("channels", "depth", depth)
    parts = depth if parts is None else parts
    _check_count("channels", "parts", parts, depth, "channels")
    return jnp.eye(parts, depth, dtype=jnp.float32)


def class_tied(classes: int, per_class: int) -> jax.Array:
    """The class of each prototype, where every class has its own, `c_p = floor(p / M)` with M a class.

    Args:
        classes: C >= 1.
        per_class: M >= 1.

    Returns:
        int32 [P], P = C M, in 0..C-1; all that is stored, no matrix [P,C].

    Raises:
        UserError: classes or prototypes a class under 1.

    Example:
        >>> class_tied(3, 2).tolist()
        [0, 0, 1, 1, 2, 2]

    Source: ProtoPNet (Chen et al. 2019), section 2.1, a fixed number of prototypes for each class.
    """
    _check_count("class_tied", "classes", classes)
    _check_count("class_tied", "per_class", per_class)
    return jnp.arange(classes * per_class, dtype=jnp.int32) // per_class


def own_class(prototype_classes: jax.Array, labels: jax.Array) -> jax.Array:
    """Which prototypes are of an image's own class, `o_bp = [c_p = y_b]`.

    Args:
        prototype_classes: int [P], `c`, as `class_tied` gives it, or any other.
        labels: int [B], `y`; a label that no prototype has, such as -1, owns none.

    Returns:
        bool [B,P].

    Raises:
        ValueError: not one axis each.

    Example:
        >>> own_class(class_tied(2, 2), jnp.array([1, 0])).tolist()
        [[False, False, True, True], [True, True, False, False]]

    Source: ProtoPNet (Chen et al. 2019), section 2.2, the prototypes that cluster and separation cost compare.
    """
    shapes = {"prototype_classes": (prototype_classes, "P"), "labels": (labels, "B")}
    check_shapes("own_class", **shapes)
    return jnp.asarray(labels)[:, None] == jnp.asarray(prototype_classes)[None]


def activation_peaks(
    features: jax.Array, count: int, radius: float, activation: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Features of an image's own activation peaks, `p_k = z_n(k)`, `n(k) = argmax {m_n : |n - n(j)| > r, j < k}`.

    Greedy non-maximum suppression: the strongest location is taken and all within the radius are removed, K
    times; of equals the first in reading order is taken. A later peak need not be a local maximum: it may lie
    on the slope of an earlier one, just outside its disc.

    Args:
        features: [B,h,w,D], `z`.
        count: K, 1 to h*w; static.
        radius: >= 0, `r`, in cells, Euclidean: two peaks are more than this apart; static.
        activation: [B,h,w], `m`, gets no gradient; None is the squared length `|z_n|^2`. Only locations above
            0 can be peaks.

    Returns:
        queries: f32 [B,K,D], by falling activation; zero where there is no such peak.
        positions: f32 [B,K,2], (y, x) in [0,1] of the cell centre; the image centre where there is no peak.
        valid: bool [B,K]; false, from some k on, where no location above 0 was left.

    Raises:
        UserError: a count that is not 1 to h*w, a negative radius.
        ValueError: shapes that do not agree.

    Example:
        >>> z = jnp.array([[[[5.0], [4.0], [0.0], [3.0]]]])
        >>> queries, positions, valid = activation_peaks(z, 3, radius=1)
        >>> queries[0, :, 0].tolist(), valid[0].tolist()
        ([5.0, 3.0, 0.0], [True, True, False])
        >>> positions[0].tolist()
        [[0.5, 0.125], [0.5, 0.875], [0.5, 0.5]]

    Source: in the spirit of neural activation constellations (Simon and Rodner 2015), part proposals at
    activation maxima; the map of all channels together, selective convolutional descriptors (Wei et al. 2017).
    Departures: peaks of one map of the whole image, not the maximum of each channel, and no part model across
    images; the squared length is the default because signed channels cancel in a mean (for features after a
    ReLU, `activation=jnp.mean(features, axis=-1)` is the map of the second source).
    """
    shapes = {"features": (features, "B h w D"), "activation": (activation, "B h w")}
    sizes = check_shapes("activation_peaks", **shapes)
    locations = sizes["h"] * sizes["w"]
    _check_count("activation_peaks", "count", count, locations, "locations")
    if not radius >= 0:
        raise UserError(f"activation_peaks: radius is {radius}; expected it at least 0")
    flat = features.astype(jnp.float32).reshape(sizes["B"], locations, sizes["D"])
    strength = jnp.sum(flat * flat, axis=-1) if activation is None else activation.astype(jnp.float32)
    strength = jax.lax.stop_gradient(jnp.maximum(strength.reshape(sizes["B"], locations), 0.0))
    cells = jnp.stack(jnp.divmod(jnp.arange(locations), sizes["w"]), axis=-1)
    reach = jnp.float32(float(radius) * float(radius))  # float32: the square of sqrt(13) is 13, not just under

    def take(left, _):
        best = jnp.argmax(left, axis=1)
        squared = jnp.sum((cells[best][:, None] - cells) ** 2, axis=-1)
        return jnp.where(squared > reach, left, 0.0), (best, jnp.max(left, axis=1) > 0)

    best, valid = (x.T for x in jax.lax.scan(take, strength, None, length=count)[1])
    queries = jnp.where(valid[..., None], jnp.take_along_axis(flat, best[..., None], axis=1), 0.0)
    centres = grid_positions(sizes["h"], sizes["w"]).reshape(locations, 2)
    return queries, jnp.where(valid[..., None], centres[best], 0.5), valid


def from_data(key: jax.Array, features: jax.Array, count: int) -> jax.Array:
    """Rows of the data far from each other, `p_k = x_i` with probability `~ min_{j<k} |x_i - p_j|^2`.

    Args:
        key: a random key.
        features: [...,D], `x`: n rows, such as the locations of many images; finite.
        count: K, 1 to n; static.

    Returns:
        f32 [K,D]; the first is drawn evenly. No row is taken twice; equal queries occur only when there are
        fewer different rows than K.

    Raises:
        UserError: a count that is not 1 to n.
        ValueError: features without an axis of rows.

    Example:
        >>> rows = jnp.array([[0.0], [0.0], [0.0], [7.0]])
        >>> sorted(from_data(jax.random.key(0), rows, 2).ravel().tolist())
        [0.0, 7.0]

    Source: k-means++ (Arthur and Vassilvitskii 2007), section 2.2, steps 1a to 1c.
    Departures: one candidate a draw, as published; squared distances are sums of squared differences in
    float32, n*D numbers a draw, so that equal rows are at exactly 0; when all rows left coincide with queries,
    the first of them are taken.
    """
    check_shapes("from_data", features=(features, "... n D"))
    rows = features.astype(jnp.float32).reshape(-1, features.shape[-1])
    _check_count("from_data", "count", count, rows.shape[0], "rows")
    first_key, key = jax.random.split(key)

    def take(k, index, chosen, nearest):
        """Notes that the k-th query is row `index`; the distance of a taken row is -1 from then on."""
        distance = jnp.sum((rows - rows[index]) ** 2, axis=-1)
        return chosen.at[k].set(index), jnp.minimum(nearest, distance).at[index].set(-1.0)

    def step(k, state):
        chosen, nearest = state
        apart = jnp.log(jnp.where(nearest > 0, nearest, 1.0))
        logits = jnp.where(nearest > 0, apart, jnp.where(nearest < 0, -jnp.inf, LAST_RESORT))
        index = jax.random.categorical(jax.random.fold_in(key, k), logits)
        return take(k, index, chosen, nearest)

    first = jax.random.randint(first_key, (), 0, rows.shape[0])
    start = take(0, first, jnp.zeros(count, first.dtype), jnp.full(rows.shape[0], jnp.inf))
    return rows[jax.lax.fori_loop(1, count, step, start)[0]]
