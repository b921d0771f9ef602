"""How much binary codes can say: entropy of the bits of each part, and bits that never change."""

from __future__ import annotations

import numpy as np

from partrep import UserError
from partrep.shapes import check_shapes

MOST_BITS = 16
"""Above this the joint entropy is not estimated: a part would have more codes than there are images."""


def bits_per_part(codes) -> np.ndarray:
    """Entropy of each bit by itself in bits, summed over a part, `b_k = sum_m H(z_km)`.

    An upper bound on the information in the part's code, reached where its bits are independent.

    Args:
        codes: [n,K,M] of -1 and 1.

    Returns:
        f64 [K] in [0,M].

    Raises:
        ValueError: not three axes.
        UserError: other values.

    Example:
        >>> bits_per_part([[[1, 1, 1]], [[-1, -1, 1]]]).tolist()  # the second bit repeats the first
        [2.0]

    Source: Shannon, A mathematical theory of communication, 1948, section 6.
    Departures: none.
    """
    share = (_bits("bits_per_part", codes) > 0).mean(axis=0)
    return (_surprise(share) + _surprise(1.0 - share)).sum(axis=-1)


def joint_bits_per_part(codes) -> np.ndarray:
    """Entropy in bits of a part's whole code, `H(z_k1, ..., z_kM)`, from how often each code occurs.

    The plug-in estimate is at most log2 n and too low where n is not much larger than the number of codes
    in use; `bits_per_part` is not, and the gap between the two is redundancy among the bits.

    Args:
        codes: [n,K,M] of -1 and 1, M <= 16.

    Returns:
        f64 [K] in [0,M], never above `bits_per_part`.

    Raises:
        ValueError: not three axes.
        UserError: other values, or M above 16.

    Example:
        >>> joint_bits_per_part([[[1, 1, 1]], [[-1, -1, 1]]]).tolist()
        [1.0]

    Source: Shannon, A mathematical theory of communication, 1948, section 6.
    Departures: none.
    """
    bits = _bits("joint_bits_per_part", codes)
    if bits.shape[2] > MOST_BITS:
        raise UserError(f"found {bits.shape[2]} bits a part; expected at most {MOST_BITS} for a joint entropy")
    word = (bits > 0) @ (1 << np.arange(bits.shape[2], dtype=np.int64))
    counts = [np.unique(column, return_counts=True)[1] for column in word.T]
    return np.array([_surprise(count / len(bits)).sum() for count in counts])


def dead_bits(codes) -> float:
    """Share of the bits that have the same value in every image.

    Args:
        codes: [n,K,M] of -1 and 1.

    Returns:
        In [0,1].

    Raises:
        ValueError: not three axes.
        UserError: other values.

    Example:
        >>> dead_bits([[[1, 1]], [[-1, 1]]])
        0.5

    Source: standard in the literature on hashing.
    Departures: none.
    """
    bits = _bits("dead_bits", codes)
    return float((bits == bits[:1]).all(axis=0).mean())


def _surprise(share: np.ndarray) -> np.ndarray:
    return 0.0 - share * np.log2(np.where(share > 0, share, 1.0))


def _bits(function: str, codes) -> np.ndarray:
    check_shapes(function, codes=(codes, "n K M"))
    codes = np.asarray(codes, np.float64)
    if not codes.size or not (np.abs(codes) == 1).all():
        raise UserError(f"found codes of shape {codes.shape} with values other than -1 and 1; expected these two")
    return codes
