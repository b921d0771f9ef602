"""The shift and projection that R-MAC puts behind every region, trained with the rest of the network."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np

from partrep import UserError
from partrep.directions import unit
from partrep.search.whitening import pca_whitening


class Whitened(nn.Module):
    """Region vectors at length one, shifted, projected, at length one: `c_k = unit(W^T (unit(v_k) - mu))`.

    One `mu` and one `W` for all regions. The descriptor of an image is then the sum of its codes as present as they
    are, `unit(sum_k m_k c_k)`, which a `PartOutputs` has but for its length as `embedding`; of a fixed grid, where
    every region is present, it is the descriptor of Gordo et al.

    Honest explanation: the similarity of two images is a sum over pairs of regions, `sum_kl m_k m'_l c_k . c'_l`
    over the lengths of the two sums.

    Attributes:
        width: E >= 1, entries of a code; none: D.

    Call:
        vectors: [B,K,D].
        train: unused.

    Returns:
        f32 [B,K,E] of length one; zeros of a region whose vector is zero and whose shift is.

    Raises:
        UserError: a width that is not positive.

    Example:
        >>> codes, _ = Whitened().init_with_output(jax.random.key(0), jax.numpy.ones((2, 3, 4)), train=False)
        >>> codes.shape, jax.numpy.linalg.norm(codes, axis=-1).round(3).tolist()[0]
        ((2, 3, 4), [1.0, 1.0, 1.0])

    Source: Gordo, Almazan, Revaud and Larlus, Deep image retrieval: learning global representations for image search,
    ECCV 2016, section 3.1: PCA of region descriptors as a shift and a fully connected layer.
    Departures: without `started`, `mu` is zero and `W` orthogonal.
    """

    width: int | None = None
    affine = False

    @nn.compact
    def __call__(self, vectors: jax.Array, train: bool) -> jax.Array:
        """Codes of each region."""
        if self.width is not None and self.width < 1:
            raise UserError(f"whitened: width {self.width}; expected at least 1")
        depth = vectors.shape[-1]
        shift = self.param("shift", nn.initializers.zeros, (depth,))
        projection = self.param("projection", nn.initializers.orthogonal(), (depth, self.width or depth))
        return unit((unit(vectors) - shift) @ projection)


def started(params: dict[str, np.ndarray], vectors: np.ndarray) -> dict[str, np.ndarray]:
    """The parameters of `Whitened` that whiten these vectors by principal components.

    Args:
        params: of the module; what they have beyond the directions in which the vectors differ is kept.
        vectors: [n,D] of regions of training images, n >= 2.

    Returns:
        `shift` and `projection`, f32, scaled so that the projection is on average as long as an orthogonal one.

    Raises:
        ValueError: vectors that are all equal or not finite.

    Source: Gordo et al. (2016), where the layer starts from the PCA of region descriptors.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    made = pca_whitening(vectors)
    projection = np.array(params["projection"], np.float32)
    rows = made.projection[: projection.shape[1]]
    projection[:, : len(rows)] = rows.T / np.sqrt((rows**2).sum() / len(rows))
    return {"shift": made.mean.astype(np.float32), "projection": projection}
