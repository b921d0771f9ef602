"""Whitening of descriptors before they are compared: by principal components, or learned from matching pairs.

What is learned must not come from the gallery that is searched: use descriptors of training images.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from partrep.shapes import check_shapes

SMALLEST_VARIANCE = 1e-12
"""Of a principal component, as a share of the largest; smaller ones are rounding, and have no direction."""


@dataclasses.dataclass(frozen=True, eq=False)
class Whitening:
    """Descriptors moved, projected and brought to length one, `y = unit(P (x - m))`.

    Attributes:
        mean: f64 [D], `m`.
        projection: f64 [E,D], `P`, the most important rows first.
    """

    mean: np.ndarray
    projection: np.ndarray

    def __call__(self, descriptors) -> np.ndarray:
        """Descriptors [N,D] whitened, f32 [N,E]; one that is the mean gives zeros."""
        check_shapes("Whitening", projection=(self.projection, "E D"), descriptors=(descriptors, "N D"))
        projected = (np.asarray(descriptors, np.float64) - self.mean) @ self.projection.T
        length = np.linalg.norm(projected, axis=1, keepdims=True)
        return (projected / np.where(length > 0, length, 1.0)).astype(np.float32)


def pca_whitening(descriptors, width: int | None = None, power: float = 0.5) -> Whitening:
    """Principal components with equal variances, `P = L^-power U^T` of the covariance `U L U^T`.

    Args:
        descriptors: [N,D] of training images, N >= 2.
        width: E, how many components to keep, at most the rank of the covariance; None keeps all of them.
        power: 1/2 whitens; 0 is a rotation; 1/4 is half of a whitening, which overfits less.

    Returns:
        A `Whitening`, made in float64.

    Raises:
        ValueError: not two axes, fewer than two descriptors, all equal, values that are not finite, a width out of
            range.

    Example:
        >>> whiten = pca_whitening([[3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0, -1.0]])
        >>> whiten([[3.0, 1.0]]).round(3)
        array([[0.707, 0.707]], dtype=float32)

    Source: Jegou and Chum, Negative evidences and co-occurrences in image retrieval, ECCV 2012; `power`
    1/4 as in the code of Gordo et al. (IJCV 2017).
    Departures: components without variance are dropped, where dividing by it gives infinities; signs are chosen so
    that the largest entry of a component is positive.
    """
    x = _checked("pca_whitening", descriptors)
    mean = x.mean(0)
    values, components = _principal((x - mean).T @ (x - mean) / len(x), width)
    return Whitening(mean, values[:, None] ** -power * components)


def learned_whitening(descriptors, pairs, width: int | None = None, ridge: float = 1e-6) -> Whitening:
    """Whitens what differs within matching pairs, then keeps the directions that differ most between all images.

    With `S = (1/n) sum_(i,j) (x_i - x_j)(x_i - x_j)^T` over matching pairs and `S = G G^T` (Cholesky),

        P = U^T G^-1,   U the eigenvectors of G^-1 C G^-T,   C = sum_i (x_i - m)(x_i - m)^T over all descriptors,

    so that `P S P^T = 1`: a direction counts by how much it tells images apart for what it varies within a pair.

    Args:
        descriptors: [N,D] of training images.
        pairs: int [n,2], rows of two images of the same thing.
        width: E, how many directions to keep, 1 to D; None keeps all.
        ridge: >= 0, added to the diagonal of S as a share of its mean; needed where n < D.

    Returns:
        A `Whitening`, made in float64; its mean is that of the first images of the pairs.

    Raises:
        ValueError: arrays that do not fit, no pairs, pairs of equal descriptors alone, values that are not finite, a
            width out of range, an S that has no inverse.

    Example:
        >>> x = [[1.0, 0.0], [1.0, 2.0], [-1.0, 0.0], [-1.0, 2.0]]  # the first entry tells, the second does not
        >>> whiten = learned_whitening(x, [[0, 1], [2, 3]], width=1)
        >>> whiten(x).round(3).ravel().tolist()
        [1.0, 1.0, -1.0, -1.0]

    Source: Mikolajczyk and Matas, Improving descriptors for fast tree matching by optimal linear projection, ICCV
    2007; as used by Radenovic, Tolias and Chum (PAMI 2019), and in their code, which takes C over all
    training images in place of non-matching pairs, and m over queries.
    Departures: the ridge, in place of growing ones until the factorisation succeeds.
    """
    x, pairs = _checked("learned_whitening", descriptors), np.asarray(pairs)
    check_shapes("learned_whitening", pairs=(pairs, "n 2"))
    if pairs.shape[1] != 2 or not len(pairs) or pairs.min() < 0 or pairs.max() >= len(x):
        raise ValueError(f"learned_whitening: pairs of shape {pairs.shape}; expected rows 0 to {len(x) - 1}, [n,2]")
    mean = x[pairs[:, 0]].mean(0)
    difference = x[pairs[:, 0]] - x[pairs[:, 1]]
    within = difference.T @ difference / len(pairs)
    within += ridge * np.trace(within) / len(within) * np.eye(len(within))
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(within))
    except np.linalg.LinAlgError:
        message = f"learned_whitening: {len(pairs)} pairs do not differ in every direction; add a ridge"
        raise ValueError(message) from None
    between = (x - mean) @ inverse.T
    _, components = _principal(between.T @ between, width, least=0.0)
    return Whitening(mean, components @ inverse)


def _checked(function: str, descriptors) -> np.ndarray:
    x = np.asarray(descriptors, np.float64)
    check_shapes(function, descriptors=(x, "N D"))
    if len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"{function}: descriptors of shape {x.shape}; expected two or more, all finite")
    return x


def _principal(
    matrix: np.ndarray, width: int | None, least: float = SMALLEST_VARIANCE
) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues f64 [E] of a symmetric matrix and their vectors f64 [E,D], the largest first."""
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors.T[::-1]
    rank = int((values > least * values[0]).sum()) if least else len(values)
    kept = rank if width is None else width
    if not 1 <= kept <= rank:
        raise ValueError(f"a whitening of width {kept}; expected 1 to {rank}, the directions in which images differ")
    values, vectors = values[:kept], vectors[:kept]
    largest = np.abs(vectors).argmax(1)[:, None]
    return values, vectors * np.sign(np.take_along_axis(vectors, largest, axis=1))
