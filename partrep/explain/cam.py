"""The class activation family: maps `A_k` of the last layer, weighted by what the class makes of them.

`A_k` [h,w] is channel k of `Explained.features`, `y` the class logit, `g_k = dy/dA_k`. All maps are before any
normalisation, at the resolution of the features unless stated otherwise.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from partrep import UserError
from partrep.explain.maps import minmax, upsample
from partrep.explain.model import Explained, check_inputs, class_logit, logits_of_views, pick
from partrep.shapes import check_shapes


def weighted_maps(features: jax.Array, weights: jax.Array) -> jax.Array:
    """The sum all of the family share, `sum_k w_k A_k`: [B,h,w,D], [B,D] -> f32 [B,h,w].

    >>> weighted_maps(jnp.array([[[[1.0, 2.0]]]]), jnp.array([[10.0, 1.0]])).tolist()
    [[[12.0]]]
    """
    check_shapes("weighted_maps", features=(features, "B h w D"), weights=(weights, "B D"))
    z, w = features.astype(jnp.float32), weights.astype(jnp.float32)
    return jnp.einsum("bhwd,bd->bhw", z, w, precision="highest")


def _features_and_gradient(
    function: str, model: Explained, images: jax.Array, target: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The maps `A` and `g = dy/dA`, both f32 [B,h,w,D]."""
    features = model.maps(check_inputs(function, images, target))
    return features, jax.grad(lambda z: jnp.sum(pick(model.head(z), target)))(features)


def cam(model: Explained, images: jax.Array, target: jax.Array, weights: jax.Array) -> jax.Array:
    """Class activation map, `sum_k w_ck A_k`: where a head that pools by the mean found its evidence.

    Only for models whose head is a linear classifier of the mean feature; there its mean over locations is
    exactly the logit less the bias, and it is h*w times `hires_cam`, which needs no weights.

    Args:
        model: the classifier; its head is not read.
        images: [B,H,W,3] in [0,1].
        target: i32 [B], c.
        weights: [D,C] of the classifier.

    Returns:
        f32 [B,h,w], signed.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z.mean((1, 2)) @ jnp.diag(jnp.array([1.0, 2.0])))
        >>> weights = jnp.diag(jnp.array([1.0, 2.0]))
        >>> images = jnp.array([[[[5.0, 3.0], [0.0, 1.0]]]])
        >>> jax.jit(cam, static_argnums=0)(model, images, jnp.array([1]), weights).tolist()
        [[[6.0, 2.0]]]

    Source: Zhou et al., Learning deep features for discriminative localization (CVPR 2016), equation 2.
    Departures: none.
    """
    features = model.maps(check_inputs("cam", images, target))
    check_shapes("cam", features=(features, "B h w D"), weights=(weights, "D C"))
    weights = jnp.asarray(weights)
    chosen = jnp.where(target < 0, weights.shape[1], target)  # a negative class is unknown too, and gives NaN
    return weighted_maps(features, jnp.take(weights, chosen, axis=1, mode="fill", fill_value=jnp.nan).T)


def grad_cam(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """Grad-CAM, `ReLU( sum_k w_k A_k )` with `w_k = (1/N) sum_n g_kn`.

    Averaging the gradient may highlight locations the head does not read; `hires_cam` does not average.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].

    Returns:
        f32 [B,h,w] >= 0.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z[:, 0, 0])
        >>> images = jnp.array([[[[4.0, 0.0], [2.0, 0.0]]]])
        >>> jax.jit(grad_cam, static_argnums=0)(model, images, jnp.array([0])).tolist()
        [[[2.0, 1.0]]]

    Source: Selvaraju et al., Grad-CAM (ICCV 2017), equations 1 and 2.
    Departures: none.
    """
    features, gradient = _features_and_gradient("grad_cam", model, images, target)
    return jax.nn.relu(weighted_maps(features, jnp.mean(gradient, axis=(1, 2))))


def grad_cam_plus_plus(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """Grad-CAM++, `ReLU( sum_k w_k A_k )`, `w_k = sum_n a_kn ReLU(g_kn)`, `a = g^2 / (2 g^2 + g^3 sum_n A_kn)`.

    Args:
        model: the classifier; its features are meant to be non-negative, as after a ReLU (a negative sum of a
            channel may bring the denominator near 0).
        images: [B,H,W,3] in [0,1].
        target: i32 [B].

    Returns:
        f32 [B,h,w] >= 0.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: 2 * z[:, 0, 0])
        >>> images = jnp.array([[[[4.0], [5.0]]]])
        >>> weighted = jax.jit(grad_cam_plus_plus, static_argnums=0)(model, images, jnp.array([0]))
        >>> [round(v, 4) for v in weighted[0, 0].tolist()]
        [0.4, 0.5]

    Source: Chattopadhay et al., Grad-CAM++ (WACV 2018), equations 19 (`a`, for the exponential of the logit,
    whose higher derivatives are powers of `g`) and 5 (`w`).
    Departures: 1e-6 in the denominator, as in common implementations; the gradient is the logit's, without the
    factor exp(y) of the paper's score, which would only scale the map.
    """
    features, gradient = _features_and_gradient("grad_cam_plus_plus", model, images, target)
    total = jnp.sum(features, axis=(1, 2), keepdims=True)
    # Where g <= 0 the ReLU drops the term: a denominator of 1 keeps its zero from the division.
    below = jnp.where(gradient > 0, 2 * gradient**2 + total * gradient**3 + 1e-6, 1.0)
    weights = jnp.sum(gradient**2 / below * jax.nn.relu(gradient), axis=(1, 2))
    return jax.nn.relu(weighted_maps(features, weights))


def hires_cam(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """HiResCAM, `sum_k g_k * A_k`: gradient times feature, location by location.

    Where the head is affine in the features it is exact: the sum over locations is the logit less the bias, and
    a location's value is what zeroing its feature would take away.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].

    Returns:
        f32 [B,h,w], signed.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z[:, 0, 0])
        >>> images = jnp.array([[[[4.0, 0.0], [2.0, 0.0]]]])
        >>> jax.jit(hires_cam, static_argnums=0)(model, images, jnp.array([0])).tolist()
        [[[4.0, 0.0]]]

    Source: Draelos and Carin, Use HiResCAM instead of Grad-CAM for faithful explanations (2020).
    Departures: none; no ReLU.
    """
    features, gradient = _features_and_gradient("hires_cam", model, images, target)
    return jnp.sum(features * gradient, axis=-1)


def layer_cam(model: Explained, images: jax.Array, target: jax.Array) -> jax.Array:
    """LayerCAM, `ReLU( sum_k ReLU(g_k) * A_k )`, for features of any depth.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].

    Returns:
        f32 [B,h,w] >= 0.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z[:, 0, 0] - z[:, 0, 1])
        >>> images = jnp.array([[[[4.0], [2.0]]]])
        >>> jax.jit(layer_cam, static_argnums=0)(model, images, jnp.array([0])).tolist()
        [[[4.0, 0.0]]]

    Source: Jiang et al., LayerCAM (IEEE TIP 2021), element-wise weights.
    Departures: one layer; maps of several layers are not fused.
    """
    features, gradient = _features_and_gradient("layer_cam", model, images, target)
    return jax.nn.relu(jnp.sum(jax.nn.relu(gradient) * features, axis=-1))


def score_cam(model: Explained, images: jax.Array, target: jax.Array, block: int = 16) -> jax.Array:
    """Score-CAM, `ReLU( sum_k w_k A_k )`, `w = softmax_k y( x * minmax(up(A_k)) )`: channels tried as masks.

    Takes D forward passes an image and no gradient.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1]; a masked pixel is black.
        target: i32 [B].
        block: channels whose masked images are held at once.

    Returns:
        f32 [B,h,w] >= 0. A flat channel masks everything.

    Raises:
        UserError: a block under 1.
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z.sum((1, 2)))
        >>> images = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]]])
        >>> found = jax.jit(score_cam, static_argnums=0)(model, images, jnp.array([0]))
        >>> [round(v, 3) for v in found[0, 0].tolist()]
        [0.731, 0.269]

    Source: Wang et al., Score-CAM (CVPR workshops 2020), channel-wise increase of confidence and algorithm 1.
    Departures: the logit of a baseline image is not subtracted, which the softmax over channels ignores.
    """
    images = check_inputs("score_cam", images, target)
    features = model.maps(images)

    def masked(channel: jax.Array) -> jax.Array:
        return images * minmax(upsample(channel, *images.shape[1:3]))[..., None]

    scores = logits_of_views(model, masked, jnp.moveaxis(features, -1, 0), target, block)
    return jax.nn.relu(weighted_maps(features, jax.nn.softmax(scores, axis=0).T))


def opti_cam(
    model: Explained, images: jax.Array, target: jax.Array, steps: int = 100, rate: float = 0.1
) -> jax.Array:
    """Opti-CAM, `S(w) = minmax(up(sum_k softmax(w)_k ReLU(A_k)))` with the w that maximises `y(x * S(w))`.

    The images of a batch are optimised at once, each by itself: the sum of their logits has the gradient of
    each, and Adam works entry by entry. It optimises nearly what average gain and drop measure, so these do not
    show that it is more faithful than another method.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1]; a masked pixel is black.
        target: i32 [B].
        steps: >= 0 steps of Adam.
        rate: > 0, learning rate of Adam.

    Returns:
        f32 [B,H,W] in [0,1], the mask itself, at the resolution of the image; zero where the mask is flat.

    Raises:
        UserError: negative steps, a rate that is not positive.
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z.sum((1, 2)))
        >>> images = jnp.array([[[[1.0, 0.0], [0.5, 1.0], [0.0, 1.0], [0.0, 0.0]]]])
        >>> mask = jax.jit(opti_cam, static_argnums=0)(model, images, jnp.array([0]))
        >>> [round(v, 1) for v in mask[0, 0].tolist()]
        [1.0, 1.0, 0.5, 0.0]

    Source: Zhang, Torres, Sicre, Avrithis and Ayache, Opti-CAM (CVIU 2024), method.
    Departures: w starts at 0 (any constant is the same uniform softmax; the released code starts at 0.5). The
    best of the steps + 1 weights is kept, image by image, where the released code stops early when a tenth of
    the iterations brought no gain. It has two sets of defaults; these are the paper's.
    """
    images = check_inputs("opti_cam", images, target)
    if steps < 0 or not rate > 0:
        raise UserError(f"opti_cam: found {steps} steps of rate {rate}; expected 0 or more of a positive rate")
    features = jax.nn.relu(model.maps(images))
    adam = optax.adam(rate)

    def mask(w: jax.Array) -> jax.Array:
        return minmax(upsample(weighted_maps(features, jax.nn.softmax(w)), *images.shape[1:3]))

    def loss(w: jax.Array) -> tuple[jax.Array, jax.Array]:
        logit = class_logit(model, images * mask(w)[..., None], target)
        return -jnp.sum(logit), logit

    def step(carry, _):
        w, state, best, best_w = carry
        (_, logit), gradient = jax.value_and_grad(loss, has_aux=True)(w)
        better = logit > best
        best, best_w = jnp.where(better, logit, best), jnp.where(better[:, None], w, best_w)
        updates, state = adam.update(gradient, state)
        return (w + updates, state, best, best_w), None

    start = jnp.zeros((features.shape[0], features.shape[-1]))
    carry = (start, adam.init(start), jnp.full(features.shape[0], -jnp.inf), start)
    (_, _, best, best_w), _ = jax.lax.scan(step, carry, length=steps + 1)
    return jnp.where(jnp.isfinite(best)[:, None, None], mask(best_w), jnp.nan)
