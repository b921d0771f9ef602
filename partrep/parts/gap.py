"""Global average pooling as a part method whose parts are the whole image: the baseline of every comparison."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.parts import readout
from partrep.parts.structure import Parts
from partrep.shapes import check_shapes


class Gap(nn.Module):
    """One part that is the whole image, `v = (1/N) sum_n z_n`; or several, of which each is.

    Honest explanation, with a linear head: level 1 trivially (one part), level 2 exactly (the class
    activation map). Not level 3. `read_out(features, assignment)` is the read-out with the assignment frozen.

    Attributes:
        parts: K >= 1: how often the same vector is there, for heads in which each part tells something else.

    Call:
        features: [B,h,w,D].
        train: unused.

    Returns:
        `Parts`: assignment and presence 1, centroid the image centre, no background, no scores.

    Raises:
        ValueError: features without four axes.

    Example:
        >>> parts = Gap().apply({}, jnp.full((2, 3, 3, 4), 5.0), train=False)
        >>> parts.vectors.shape, float(parts.vectors[0, 0, 0])
        ((2, 1, 4), 5.0)

    Source: Zhou et al. (2016), class activation maps.
    """

    parts: int = 1
    read_out = staticmethod(readout.area_mean)

    @nn.compact
    def __call__(self, features: jax.Array, train: bool) -> Parts:
        """The whole image as each part."""
        sizes = check_shapes("Gap", features=(features, "B h w D"))
        whole = jnp.ones((sizes["B"], self.parts, sizes["h"], sizes["w"]), jnp.float32)
        return Parts(
            similarity=whole,
            assignment=whole,
            background=None,
            vectors=self.read_out(features, whole),
            scores=None,
            presence=readout.presence(whole),
            centroid=readout.centroid(whole),
        )
