"""Occlusion: the logit with a window of the image covered."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.explain.baselines import Baseline, baseline_images
from partrep.explain.model import Explained, check_inputs, class_logit, logits_of_views


def window_places(length: int, window: int, stride: int) -> np.ndarray:
    """The pixels of a line that each place of a window covers, bool [n,length].

    A last place at the very end is added where the stride misses it, so that every pixel is covered.

    >>> window_places(5, 2, 2).astype(int).tolist()
    [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]]
    """
    last = length - window
    starts = np.unique(np.append(np.arange(0, last + 1, stride), last))[:, None]
    pixels = np.arange(length)
    return (starts <= pixels) & (pixels < starts + window)


def occlusion(
    model: Explained,
    images: jax.Array,
    target: jax.Array,
    window: int = 16,
    stride: int = 8,
    baseline: Baseline = None,
    block: int = 16,
) -> jax.Array:
    """The drop of the logit when a pixel is covered, `mean_{places that cover p} y(x) - y(x covered there)`.

    Takes a forward pass a place, about H*W / stride^2.

    Args:
        model: the classifier.
        images: [B,H,W,3] in [0,1].
        target: i32 [B].
        window: 1 to min(H,W), side of the square window in pixels.
        stride: 1 to window, pixels from a place to the next.
        baseline: what covers: a number, a colour [3], images, or None for each image's mean colour.
        block: places whose covered images are held at once.

    Returns:
        f32 [B,H,W], signed, in units of the logit a window (not a pixel: it does not sum to the logit).

    Raises:
        UserError: a window or stride out of range, a baseline of another shape, a block under 1.
        ValueError: shapes that do not agree.

    Example:
        >>> model = Explained(lambda x: x, lambda z: z[:, 0, 0])
        >>> images = jnp.ones((1, 2, 2, 1))
        >>> pixelwise = jax.jit(lambda x, c: occlusion(model, x, c, window=1, stride=1, baseline=0.0))
        >>> pixelwise(images, jnp.array([0])).tolist()
        [[[1.0, 0.0], [0.0, 0.0]]]

    Source: Zeiler and Fergus, Visualizing and understanding convolutional networks (ECCV 2014), section 4.2.
    Departures: the drop, in place of the probability that is left, and averaged over the places that cover a
    pixel; the mean colour in place of grey.
    """
    images = check_inputs("occlusion", images, target)
    count, height, width = images.shape[:3]
    if not 1 <= stride <= window <= min(height, width):
        found = f"a window of {window} moved by {stride} on {height} x {width} pixels"
        raise UserError(f"occlusion: found {found}; expected 1 <= stride <= window <= the image's sides")
    rows, columns = (jnp.asarray(window_places(side, window, stride)) for side in (height, width))
    cover = baseline_images(images, baseline)

    def covered(place: jax.Array) -> jax.Array:
        hidden = rows[place // len(columns), :, None] & columns[place % len(columns)]
        return jnp.where(hidden[..., None], cover, images)

    left = logits_of_views(model, covered, jnp.arange(len(rows) * len(columns)), target, block)
    drop = (class_logit(model, images, target) - left).reshape(len(rows), len(columns), count)
    y, x = rows.astype(jnp.float32), columns.astype(jnp.float32)
    total = jnp.einsum("nmb,nh,mw->bhw", drop, y, x, precision="highest")
    return total / (jnp.sum(y, axis=0)[:, None] * jnp.sum(x, axis=0))
