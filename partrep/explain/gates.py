"""Gates: what an explanation must not do before its scores are worth reading.

An explanation of the trained model that looks like that of a model which has learnt nothing shows the image, not the
model. Both gates take maps made before; `randomised` and `cascade` make the models that have learnt nothing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from partrep import UserError
from partrep.metrics.rank import spearman
from partrep.shapes import check_shapes

THRESHOLD = 0.5
"""An explanation whose mean similarity lies above fails: over half of its order is there without the training."""


class Gate(NamedTuple):
    """How like the maps of the trained model are to those of a model that has learnt nothing."""

    similarity: np.ndarray
    """f64 [n] in [-1,1], Spearman's rho over the pixels of the two maps of each image."""
    between_images: np.ndarray
    """f64 [n], the same of each trained map with that of the next image: what alike maps there are anyway.

    About as high as `similarity`: the map is much the same for every image, as one that looks at the centre.
    Near 0 where `similarity` is high: it shows the image, as its edges.
    """
    passed: bool
    """Whether the mean similarity is at most the threshold."""


def parameter_randomisation(trained: np.ndarray, random: np.ndarray, threshold: float = THRESHOLD) -> Gate:
    """Does the explanation change when the parameters are randomised?

    Args:
        trained: [n,h,w] finite, maps of the trained model for the classes it predicts; n >= 2.
        random: [n,h,w] finite, those of the randomised model for the same images and classes.
        threshold: in [-1,1], the greatest mean similarity that passes.

    Returns:
        `Gate`. The sign counts; give sizes of the maps where a change of sign is none for the purpose.

    Raises:
        UserError: fewer than two images, maps that are not finite.
        ValueError: shapes that do not agree.

    Example:
        >>> maps = np.arange(8.0).reshape(2, 2, 2)
        >>> parameter_randomisation(maps, maps).passed, parameter_randomisation(maps, -maps).passed
        (False, True)

    Source: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, with Spearman's rank correlation.
    Departures: a threshold, and the similarity between images beside; the source looks at the curves.
    """
    return _gate("parameter_randomisation", trained, random, threshold)


def label_randomisation(trained: np.ndarray, shuffled: np.ndarray, threshold: float = THRESHOLD) -> Gate:
    """Does the explanation change when the model has learnt shuffled labels by heart?

    Args:
        trained: [n,h,w] finite, maps of the model trained on the true labels; n >= 2.
        shuffled: [n,h,w] finite, those of the same network trained on labels shuffled over the training images.
        threshold: in [-1,1], the greatest mean similarity that passes.

    Returns:
        `Gate`.

    Raises:
        UserError: fewer than two images, maps that are not finite.
        ValueError: shapes that do not agree.

    Example:
        >>> maps = np.arange(8.0).reshape(2, 2, 2)
        >>> label_randomisation(maps, 1 + 2 * maps).passed
        False

    Source: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, data randomisation test.
    Departures: as `parameter_randomisation`.
    """
    return _gate("label_randomisation", trained, shuffled, threshold)


def randomised(variables: Any, key: jax.Array, pattern: str) -> Any:
    """The pytree with the entries of every leaf whose whole path matches `pattern` permuted at random.

    A permuted leaf keeps its distribution, so that the model keeps its scale; one whose entries are all equal stays as
    it is. What a leaf becomes depends on the key and its path alone, not on which others match.

    >>> tree = {"params": {"head": jnp.arange(4.0), "stem": jnp.arange(4.0)}}
    >>> new = randomised(tree, jax.random.key(0), "params/head")["params"]
    >>> new["stem"].tolist(), sorted(new["head"].tolist())
    ([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0])
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(variables)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    chosen = [re.fullmatch(pattern, name) is not None for name in names]
    if not any(chosen):
        raise UserError(f"no leaf matches {pattern!r}; expected a pattern of paths such as {names[0]!r}")
    made = [_permuted(leaf, key, name) if yes else leaf for (_, leaf), name, yes in zip(leaves, names, chosen)]
    return jax.tree_util.tree_unflatten(tree, made)


def cascade(variables: Any, key: jax.Array, patterns: Sequence[str]) -> Iterator[Any]:
    """The pytree with the leaves of the first pattern randomised, of the first two, and so on: from the output down.

    >>> tree = {"head": jnp.arange(9.0), "stem": jnp.arange(9.0)}
    >>> steps = list(cascade(tree, jax.random.key(0), ["head", "stem"]))
    >>> [bool((step["stem"] == tree["stem"]).all()) for step in steps]
    [True, False]
    """
    for pattern in patterns:
        variables = randomised(variables, key, pattern)
        yield variables


def _permuted(leaf: jax.Array, key: jax.Array, name: str) -> jax.Array:
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return jax.random.permutation(key, jnp.ravel(leaf)).reshape(jnp.shape(leaf))


def _gate(function: str, first: np.ndarray, second: np.ndarray, threshold: float) -> Gate:
    check_shapes(function, trained=(first, "n h w"), other=(second, "n h w"))
    if len(first) < 2:
        raise UserError(f"{function}: found {len(first)} images; expected at least 2, to compare them")
    one, two = (np.asarray(maps, np.float64).reshape(len(first), -1) for maps in (first, second))
    similarity = spearman(one, two)
    return Gate(similarity, spearman(one, np.roll(one, -1, axis=0)), bool(similarity.mean() <= threshold))
