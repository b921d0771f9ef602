"""Group distributionally robust optimisation: the groups of images that do worst count most. A loss with memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from partrep.shapes import check_shapes

SMALLEST_WEIGHT = 1e-30


def start_group_weights(groups: int) -> jax.Array:
    """The state of `group_dro` before the first batch: f32 [G], all groups alike.

    >>> start_group_weights(2).tolist()
    [0.5, 0.5]
    """
    return jnp.full(groups, 1.0 / groups, jnp.float32)


def group_dro(
    losses: jax.Array,
    groups: jax.Array,
    weights: jax.Array,
    step_size: float = 0.01,
    where: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The mean losses of the groups under weights that follow the worst one.

        q_g <- q_g exp(eta l_g) / sum_h q_h exp(eta l_h),    l = sum_g q_g l_g

    with `l_g` the mean loss of the batch's images of group g; 0 where it has none of them. The weights move first,
    the loss is taken under the new ones, and no gradient goes through them.

    Args:
        losses: [B], of the images.
        groups: int [B] in 0..G-1.
        weights: f32 [G] >= 0 with sum one, `q`: the state; `start_group_weights` at first, then what the call before
            returned.
        step_size: `eta` >= 0, a static number.
        where: bool [B]; false images are ignored, whatever their loss.

    Returns:
        f32 scalar (per batch), the loss.
        f32 [G], the state for the next batch.

    Raises:
        ValueError: shapes that do not agree, a negative step size.

    Example:
        >>> loss, weights = group_dro(jnp.array([1.0, 1.0, 3.0]), jnp.array([0, 0, 1]), jnp.array([0.5, 0.5]), 1.0)
        >>> round(float(loss), 3), round(float(weights[1]), 3)
        (2.762, 0.881)

    Source: Sagawa et al., Distributionally Robust Neural Networks for Group Shifts (ICLR 2020), algorithm 1; step size
    0.01, and groups that a batch lacks counting 0, as in the released code.
    Departures: batches are given; where they do not have all groups equally often, as the source draws them, the mean
    of a small group is one of few images. A weight under 1e-30 counts as that, so that none is lost for
    good; without the generalisation adjustment of section 3.3. The source pairs it with strong weight decay or early
    stopping, which are the optimiser's.
    """
    check_shapes(
        "group_dro", losses=(losses, "B"), groups=(groups, "B"), weights=(weights, "G"), where=(where, "B")
    )
    if step_size < 0:
        raise ValueError(f"group_dro: step_size is {step_size}; expected at least 0")
    member = jax.nn.one_hot(groups, weights.shape[0])
    losses = losses.astype(jnp.float32)
    if where is not None:
        member, losses = jnp.where(where[:, None], member, 0.0), jnp.where(where, losses, 0.0)
    of_group = (member * losses[:, None]).sum(0) / jnp.maximum(member.sum(0), 1.0)
    scores = jnp.log(jnp.maximum(weights, SMALLEST_WEIGHT)) + step_size * jax.lax.stop_gradient(of_group)
    weights = jax.nn.softmax(scores)
    return (weights * of_group).sum(), weights
