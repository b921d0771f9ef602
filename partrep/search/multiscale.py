"""One descriptor of an image seen at several scales."""

from __future__ import annotations

import numpy as np

from partrep.shapes import check_shapes


def combined_scales(descriptors, power: float = 1.0) -> np.ndarray:
    """The generalised mean of an image's descriptors at several scales, `v = unit(((1/S) sum_s x_s^p)^(1/p))`.

    Args:
        descriptors: [S,N,E], `x`, of length one; of N images at S scales.
        power: `p` > 0; 1 is the mean, for descriptors of any sign. Others need entries that are not negative, as of
            features of a ReLU that were pooled and not whitened.

    Returns:
        f32 [N,E] of length one; zeros where the mean is.

    Raises:
        ValueError: another shape, no scale, a power that is not above 0, or not 1 with negative entries.

    Example:
        >>> combined_scales([[[1.0, 0.0]], [[0.0, 1.0]]]).round(3)
        array([[0.707, 0.707]], dtype=float32)

    Source: Gordo, Almazan, Revaud and Larlus (ECCV 2016), sums of descriptors at several resolutions; Radenovic, Tolias
    and Chum, Fine-tuning CNN image retrieval with no human annotation, PAMI 2019, section 5.2: scales 1, 2^-1/2 and
    1/2, combined with the power that pooled the features.
    """
    x = np.asarray(descriptors, np.float64)
    check_shapes("combined_scales", descriptors=(x, "S N E"))
    if not len(x) or not power > 0:
        raise ValueError(f"combined_scales: {len(x)} scales, power {power}; expected one or more, and above 0")
    if power != 1 and (x < 0).any():
        raise ValueError(f"combined_scales: power {power} of negative entries; expected power 1, or entries from 0 up")
    mean = x.mean(0) if power == 1 else (x**power).mean(0) ** (1 / power)
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.where(length > 0, length, 1.0)).astype(np.float32)
