"""Parts that are told twice: from the image, and by a network of its own from the grey image at the same places."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from partrep.data.transforms import grey
from partrep.models.outputs import PartOutputs
from partrep.models.part_model import PartModel
from partrep.parts.readout import weighted_mean


class GreyAspect(nn.Module):
    """Contributions of the parts, half by the image and half by its grey levels: what fits in one may not in the other.

    `l_kc = (l^image_kc + l^grey_kc) / 2`, and logits are their sum over the parts. A classifier learns no more of a
    part than tells the known ones apart, so that one of a known colour and a new shape passes by its colour. A second
    network that never sees colour has to know the shape, and a part that is new has to pass both. It looks where the
    parts of the image are, and no gradient of it moves them.

    Source: logarithmic opinion pool of two experts (Hinton 2002, equation 1, with equal exponents), each with a view of
    its own.

    Attributes:
        classifier: of the image, with a head whose logits are sums of `contributions`.
        backbone: (grey image [B,H,W,1], train) -> features [B,h,w,D], on the grid of the classifier's. The image is
            standardised like that of the classifier.
        bottleneck: (vectors [B,K,D], train) -> codes [B,K,M].
        head: as that of `classifier`, of the codes of the grey image.
    """

    classifier: PartModel
    backbone: nn.Module
    bottleneck: nn.Module
    head: nn.Module

    def __call__(self, image: jax.Array, train: bool) -> PartOutputs:
        """Images f32 [B,H,W,C] in [0,1] -> the arrays of the classifier, with contributions and logits of both."""
        outputs = self.classifier(image, train)
        assert outputs.contributions is not None
        contributions = (outputs.contributions + self.by_grey(image, outputs, train)) / 2
        return dataclasses.replace(outputs, contributions=contributions, logits=contributions.sum(1))

    def by_grey(self, image: jax.Array, outputs: PartOutputs, train: bool) -> jax.Array:
        """f32 [B,K,C], what each part contributes by the grey image."""
        mean, std = (jnp.mean(jnp.asarray(x)) for x in (self.classifier.mean, self.classifier.std))
        features = self.backbone((grey(image) - mean) / std, train)
        vectors = weighted_mean(features, jax.lax.stop_gradient(outputs.parts.assignment))
        presence = jax.lax.stop_gradient(outputs.parts.presence)
        contributions: Any = self.head.contributions(self.bottleneck(vectors, train), presence)
        return contributions
