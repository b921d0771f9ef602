"""How much the decisions of an additive classifier rest on each of its parts, from exact contributions to the logits.

`logit_c = bias_c + sum_k u_kc`, where u are the contributions of the K parts (`part_contributions` of a head that is
linear in the codes). Neither labels nor masks nor groups of images are read.
"""

from __future__ import annotations

import numpy as np

from partrep import UserError
from partrep.shapes import check_shapes


def reliance(contributions, bias) -> np.ndarray:
    """Each part's share of what carries the decisions: the covariance of its contributions with them.

        s_k = sum_c cov_i(y_ic, u_ikc) = mean_i sum_c (y_ic - p_c) u_ikc,    r_k = s_k / sum_j s_j

    with `y_ic` one where image i is taken for class c, else zero, and `p_c = mean_i y_ic`. With the contributions
    centred over the images, `s_k` is what the part adds, on average, to the margin of the predicted class over the
    mean of all classes.

    What is the same for every image moves no decision and must not count: a number that is moved between a part and
    the bias leaves `s` as it is. So does one that a part adds to all classes of an image alike. A plain mean of what
    parts add to the margin fails the first, a variance of the contributions cannot tell a part that speaks for the
    decisions from one that speaks against them, and neither adds up; `s` does, to the same covariance of the logits,
    `sum_k s_k = mean_i (max_c logit_ic - sum_c p_c logit_ic) >= 0`.

    Args:
        contributions: [n,K,C], `u`, in units of the logit.
        bias: [C].

    Returns:
        f64 [K], `r`, with sum one; negative for a part that speaks against the decisions more than for them. All
        zero where no decision depends on the image.

    Raises:
        ValueError: shapes that do not agree.
        UserError: no images.

    Example:
        >>> wing, constant = [[3.0, 0.0], [0.0, 3.0]], [[9.0, 0.0], [9.0, 0.0]]
        >>> reliance(np.stack([wing, constant], 1), [-9.0, 0.0]).tolist()
        [1.0, 0.0]

    Source: the decomposition of a covariance of a sum; for shares of explained variance, Pratt (1987), "Dividing the
    indivisible".
    Departures: decisions in place of a measured response, as no label is read.
    """
    sizes = check_shapes("reliance", contributions=(contributions, "n K C"), bias=(bias, "C"))
    if not sizes["n"]:
        raise UserError("reliance: found no images; expected at least one")
    u = np.asarray(contributions, np.float64)
    predicted = (np.asarray(bias, np.float64) + u.sum(axis=1)).argmax(axis=1)
    own = np.take_along_axis(u, predicted[:, None, None], axis=2)[..., 0].mean(axis=0)
    shares = np.bincount(predicted, minlength=sizes["C"]) / sizes["n"]
    return reliance_of_sums(own, u.mean(axis=0), shares)


def reliance_of_sums(own, mean, shares) -> np.ndarray:
    """`reliance` of as many images as there are, from means over them that are gathered in passing.

        s_k = mean_i u_ik,c(i) - sum_c p_c mean_i u_ikc,    r_k = s_k / sum_j s_j

    with c(i) the class that image i is taken for.

    Args:
        own: [K], `mean_i u_ik,c(i)`.
        mean: [K,C], `mean_i u_ikc`.
        shares: [C], `p`, the share of images that are taken for each class.

    Returns:
        f64 [K], as `reliance`.

    Raises:
        ValueError: shapes that do not agree.

    Example:
        >>> reliance_of_sums([1.5, 0.5], [[1.0, 0.0], [0.5, 0.5]], [0.5, 0.5]).tolist()
        [1.0, 0.0]

    Source: the equation of `reliance`, multiplied out.
    Departures: none.
    """
    check_shapes("reliance_of_sums", own=(own, "K"), mean=(mean, "K C"), shares=(shares, "C"))
    s = np.asarray(own, np.float64) - np.asarray(mean, np.float64) @ np.asarray(shares, np.float64)
    return s / s.sum() if s.sum() > 0 else np.zeros_like(s)
