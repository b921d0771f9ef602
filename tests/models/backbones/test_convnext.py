"""ConvNeXt-T: published size and grid."""

from __future__ import annotations

from partrep.models.backbones import BACKBONES


def test_size(describe):
    # torchvision's convnext_tiny has 28,589,128 parameters: LayerNorm and classifier are no part of the backbone.
    shape, count = describe(BACKBONES["convnext_tiny"](), (1, 224, 224, 3))
    assert shape == (1, 7, 7, 768) and count == 28_589_128 - 2 * 768 - (768 * 1000 + 1000)
